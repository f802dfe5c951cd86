"""What may come next in a filter that is being typed: keys, and the values that there are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.store.filtering.keys import BEST, BY_NAME, CFG, KEYS, LAST, SPEC, Sort, family
from engine.telemetry.directions import direction_of
from engine.telemetry.metrics import METRICS

if TYPE_CHECKING:
    from engine.store.experiment import Experiment

_MOST = 60  # completions
_TOKEN = re.compile(r"""-*\(*(?:[^\s"'|()]|"[^"]*"?|'[^']*'?)*$""")
_KEYED = re.compile(r"([^\W\d_][^\s:=!<>~|()\"']*)(!=|<=|>=|=|<|>|~|:)")
_PLAIN = re.compile(r"[^\s|()\"']+")
_OPERATORS = {Sort.NUMBER: ">", Sort.SPAN: "<"}  # that a key most often has; of all others it is :


@dataclass(frozen=True, slots=True)
class Completion:
    """A text for the characters from `start` to the cursor."""

    text: str
    start: int
    meaning: str = ""

    def into(self, line: str, cursor: int) -> tuple[str, int]:
        """Return the line with the completion in it, and where the cursor is then."""
        done = line[: self.start] + self.text
        return done + line[cursor:], len(done)


class Vocabulary:
    """The words that a list of experiments gives: its tags, hosts, metrics, keys and values of specs."""

    def __init__(self, experiments: Sequence[Experiment] = (), specs: Mapping[str, Mapping[str, Any]] | None = None):
        self._experiments, self._specs = experiments, specs or {}

    def values(self, key: str) -> list[str]:
        """Return the values that a key has among the experiments, or can have, sorted by how often."""
        of_family = family(key)
        if of_family is not None and of_family[0] == SPEC:
            return _by_number(_written(values) for values in self._of_spec(of_family[1]))
        known = BY_NAME.get(key)
        if known is None or known.sort not in (Sort.WORD, Sort.WORDS, Sort.FLAG):
            return []
        if known.sort is Sort.FLAG:
            return ["yes", "no"]
        seen = _by_number(value for one in self._experiments for value in known.read(one, 0.0))
        return list(dict.fromkeys([*seen, *known.values]))

    def spec_keys(self) -> list[str]:
        """Return the keys that specs have, in the order of the specs."""
        kinds = {one.kind: one.id for one in self._experiments if one.id in self._specs}  # one of a kind is enough
        return list(dict.fromkeys(key for identity in kinds.values() for key in self._specs[identity]))

    def metrics(self) -> list[str]:
        """Return the metrics that there are, in the order in which metrics are shown."""
        there = {name for one in self._experiments for name in one.last}
        return [*(name for name in METRICS if name in there), *sorted(there - METRICS.keys())]

    def _of_spec(self, name: str) -> Iterator[Any]:
        for values in self._specs.values():
            for key in (name,) if name in values else (one for one in values if one.endswith(f".{name}")):
                if values[key] is not None:
                    yield values[key]


def complete(line: str, cursor: int, vocabulary: Vocabulary) -> list[Completion]:
    """Return what may stand instead of the term before the cursor, best first; none where nothing is known."""
    found = _found(line, cursor, vocabulary)
    return [one for one in found if one.text != line[one.start : cursor]][:_MOST]


def _found(line: str, cursor: int, vocabulary: Vocabulary) -> list[Completion]:
    token = _TOKEN.search(line[:cursor])
    start = cursor if token is None else token.start() + len(token[0]) - len(token[0].lstrip("-("))
    typed = line[start:cursor]
    keyed = _KEYED.match(typed)
    if keyed is None:
        before = _key_before(line, start)
        if before is None:
            return list(_keys(typed, start, vocabulary))
        return _values(before, typed, start, vocabulary)
    return _values(keyed[1], typed[keyed.end() :], start + keyed.end(), vocabulary)


def _key_before(line: str, start: int) -> str | None:
    """Return the key that an alternative behind a | takes over."""
    if start == 0 or line[start - 1] != "|":
        return None
    token = _TOKEN.search(line[: start - 1])
    keyed = _KEYED.match(token[0].lstrip("-(")) if token is not None else None
    return keyed[1] if keyed is not None else _key_before(line, token.start()) if token is not None else None


def _keys(typed: str, start: int, vocabulary: Vocabulary) -> Iterator[Completion]:
    of_family = family(typed)
    if of_family is not None:
        prefix, rest = of_family
        names = vocabulary.spec_keys() if prefix == SPEC else vocabulary.metrics()
        if prefix == BEST:
            names = [name for name in names if direction_of(name)]
        written = typed[: len(typed) - len(rest)]
        for name in _ranked(rest, names):
            unit = METRICS[name].unit if prefix != SPEC and name in METRICS else ""
            yield Completion(f"{written}{name}", start, "" if unit == "1" else unit)
        return
    for key in KEYS:
        if key.name.startswith(typed.lower()):
            yield Completion(f"{key.name}{_OPERATORS.get(key.sort, ':')}", start, key.meaning)
    for prefix, meaning in (
        (SPEC, "a value of the spec"),
        (CFG, "the same"),
        (LAST, "the last value of a metric"),
        (BEST, "the best value that a metric had"),
    ):
        if prefix.startswith(typed.lower()):
            yield Completion(prefix, start, meaning)


def _values(key: str, typed: str, start: int, vocabulary: Vocabulary) -> list[Completion]:
    bare = typed.lstrip("\"'")
    found = [value for value in vocabulary.values(key) if value.lower().startswith(bare.lower())]
    return [Completion(_quoted(value), start) for value in found]


def _ranked(typed: str, names: Iterable[str]) -> list[str]:
    """Return the names that begin so, then those a part of which begins so."""
    known = list(names)
    first = [name for name in known if name.startswith(typed)]
    return [*first, *(name for name in known if name not in first and f".{typed}" in name)]


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    return f'"{value}"' if '"' not in value else f"'{value}'"


def _by_number(values: Iterable[str]) -> list[str]:
    """Return the different values, the most frequent first."""
    count: dict[str, int] = {}
    for value in values:
        count[value] = count.get(value, 0) + 1
    return sorted(count, key=lambda value: (-count[value], value))


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
