"""The terms of the reward that are rules: what an answer is worth, without a reward model.

A rule gives raw numbers; `reward` normalises, clips and weights them.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, SupportsFloat

# Not the standard library's: it gives up on a pattern that would backtrack for ever.
import regex

from engine.data.answers import abstains, verdict
from engine.errors import InvalidInput, PlumblineError, RunFailed
from engine.spec.ppo import RewardTerm

# Longest search of a pattern in one answer, seconds; a good pattern takes microseconds.
_SEARCH_SECONDS = 10.0
# Characters of a text that an error shows.
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that the policy wrote: what rules judge, and what a user's own function gets."""

    prompt: str  # what was asked: the last message of the user, without a passage
    response: str  # decoded, without special tokens
    accepted: tuple[str, ...]  # answers known to be right; empty where none is known
    answerable: bool | None  # False: there is no right answer but to abstain; None: the data does not say
    evidence: str | None  # a true passage to judge by, which the policy did not see
    ended: bool  # by its end-of-sequence token; False: it was cut at the longest length
    tokens: int  # of the response, the end-of-sequence token included
    group: str | None  # what the prompts are grouped by in the evaluation
    passages: tuple[str, ...] = ()  # retrieved ones, which the policy read; empty: closed book


# One finite number for each answer, in their order. It may be called with the answers of one rank only.
Rule = Callable[[Sequence[Answer]], Sequence[float]]


def make_rule(name: str, term: RewardTerm, abstentions: Sequence[str]) -> Rule:
    """Return the rule of a term that neither is a reward model nor asks for support by passages.

    Arguments:
        name: of the term, in `rewards`; errors are told with it.
        abstentions: an answer that begins with one of these abstains.

    `exact_match` gives `correct`, `abstained` or `wrong`. Abstaining is `abstained` also where there is no
    right answer, so that a term has one value for one behaviour: what it is worth is set against `wrong`. Where neither
    accepted answers are known nor that there is none, the term is 0: it has nothing to say.

    `function` is imported from where Python finds modules, and last from the working directory.

    Raises:
        InvalidInput: the pattern is none, or the function cannot be imported.
        ValueError: the term is of another kind.
    """
    phrases = tuple(abstentions)
    match term.kind:
        case "exact_match":
            worth = {"correct": term.correct, "abstained": term.abstained, "hallucinated": term.wrong}
            return lambda answers: [_exact_match(answer, worth, phrases) for answer in answers]
        case "abstention":
            return lambda answers: [float(abstains(answer.response, phrases)) for answer in answers]
        case "length":
            target = term.target
            return lambda answers: [-max(0, answer.tokens - target) / target for answer in answers]
        case "regex":
            return _pattern(name, term.pattern or "")
        case "function":
            return _UsersFunction(name, term.function or "", Path(term.file) if term.file is not None else None)
        case "model" | "support":
            raise ValueError(f"rewards.{name} is of kind {term.kind}, not a rule")


def _exact_match(answer: Answer, worth: dict[str, float], phrases: Sequence[str]) -> float:
    if not answer.accepted and answer.answerable is not False:
        return 0.0
    return worth[verdict(answer.response, answer.accepted, answer.answerable, phrases)]


def _pattern(name: str, text: str) -> Rule:
    try:
        pattern = regex.compile(text)
    except regex.error as error:
        raise InvalidInput(f"{text!r} is no regular expression: {error}.", where=f"rewards.{name}.pattern") from error

    def found(answer: Answer) -> float:
        try:
            return float(pattern.search(answer.response, timeout=_SEARCH_SECONDS) is not None)
        except TimeoutError as error:
            raise RunFailed(
                f"the pattern was searched for {_SEARCH_SECONDS:g} s in the answer {_shown(answer.response)}.",
                hint="Write it without repetitions inside of repetitions.",
                where=f"rewards.{name}.pattern",
            ) from error

    return lambda answers: [found(answer) for answer in answers]


class _UsersFunction:
    """A function of the user's own; whatever is wrong with it is told in one sentence."""

    def __init__(self, name: str, path: str, file: Path | None) -> None:
        self._path, self._file, self._where = path, file, f"rewards.{name}.function"
        self._function = self._found()

    def __call__(self, answers: Sequence[Answer]) -> list[float]:
        """Return what the function gives. Raises RunFailed if it fails, or does not give a finite number for each."""
        try:
            given: list[Any] = list(self._function(list(answers)))
        except PlumblineError:
            raise
        except (Exception, SystemExit) as error:
            raise self._failure(f"raised {_told(error)}") from error
        if len(given) != len(answers):
            raise self._failure(f"gave {len(given)} numbers for {len(answers)} answers")
        return list(self._checked(given, answers))

    def _checked(self, given: Sequence[Any], answers: Sequence[Answer]) -> Iterator[float]:
        for value, answer in zip(given, answers, strict=True):
            place = f"for the answer {_shown(answer.response)} to {_shown(answer.prompt)}"
            if not isinstance(value, SupportsFloat):
                raise self._failure(f"gave a {type(value).__name__}, which is no number, {place}")
            try:
                number = float(value)
            except Exception as error:
                raise self._failure(f"gave a {type(value).__name__}, which is no number, {place}") from error
            if not math.isfinite(number):
                raise self._failure(f"gave {number} {place}")
            yield number

    def _failure(self, what: str) -> RunFailed:
        hint = "It gets a list of answers and returns one finite number for each."
        return RunFailed(f"the function {self._path} {what}.", hint=hint, where=self._where)

    def _found(self) -> Callable[[list[Answer]], Any]:
        if self._file is not None:
            module_name, attribute = str(self._file), self._path
            module = self._imported(module_name, partial(_from_file, self._file))
        else:
            module_name, colon, attribute = self._path.partition(":")
            if not colon or not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
                hint = "Or give its file: rewards.NAME.file."
                raise InvalidInput(f"{self._path!r} is not of the form MODULE:NAME.", hint=hint, where=self._where)
            # It stays: the module may import its neighbours when it is called. Last, so that it hides nothing.
            if (folder := str(Path.cwd())) not in sys.path:
                sys.path.append(folder)
            module = self._imported(module_name, partial(importlib.import_module, module_name))
        function = getattr(module, attribute, None)
        if not callable(function):
            kind = "nothing" if function is None else "nothing callable"
            raise InvalidInput(f"{module_name} has {kind} of the name {attribute}.", where=self._where)
        return function

    def _imported(self, module_name: str, load: Callable[[], ModuleType]) -> ModuleType:
        try:
            return load()
        except ModuleNotFoundError as error:
            missing = error.name or module_name
            hint = f"Install it on every node, or give its file: rewards.NAME.file ({Path.cwd()} was searched)."
            raise InvalidInput(f"there is no module {missing}.", hint=hint, where=self._where) from error
        except (Exception, SystemExit) as error:
            raise InvalidInput(f"importing {module_name} raised {_told(error)}.", where=self._where) from error


def _from_file(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"plumbline_reward_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _told(error: BaseException) -> str:
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said}".rstrip(": .")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
