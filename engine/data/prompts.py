"""Prompts that a policy answers: their tokens, what is known about right answers, and how a reward model reads them."""

from __future__ import annotations

import itertools
import logging
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.data.conversations import Conversation, Message, Split, Unusable, as_message, text_of
from engine.data.examples import batched
from engine.data.facts.questions import with_passage
from engine.data.sources import BrokenRows, Row, read_rows
from engine.data.templates import generation_prompts
from engine.spec.ppo import PromptData

_log = logging.getLogger(__name__)

# Prompts that are tokenised in one call.
_BATCH = 1024
# Columns that hold the prompt where `data.prompt_key` is missing: of chat data, and of question answering.
_OTHER_KEYS = ("messages", "question")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, and what is known about right answers to it. Its length is counted in tokens."""

    ids: Sequence[int]  # with the generation prompt: what stands before the answer
    messages: tuple[Message, ...]  # the last one is not the assistant's
    answers: tuple[str, ...]  # that are accepted; empty if none is given
    answerable: bool | None  # whether there is a right answer; None: the row says nothing about answers
    evidence: str | None  # a true passage to judge by, which the policy does not see
    group: str | None
    place: str  # FILE:LINE
    passages: tuple[str, ...] = ()  # retrieved ones, which the policy reads: `ids` have them; empty: closed book

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def text(self) -> str:
        """What is asked: the last message of the user, without a passage."""
        return self.messages[_last_asked(self.messages)].content

    def asking(self, text: str) -> tuple[Message, ...]:
        """Return the messages with another text in place of what is asked."""
        place = _last_asked(self.messages)
        return (*self.messages[:place], Message("user", text), *self.messages[place + 1 :])


def load_prompts(data: PromptData, tokenizer: Any, split: Split, limit: int | None = None) -> list[Prompt]:
    """Return the prompts of a split, in the order of their rows; those of the first `limit` usable ones if it is given.

    A row holds a text or a conversation, whose last answer, if it has one, is left out. Prompts longer than
    `data.max_prompt_length` are left out, counted and told. Without an evaluation file there are none for `eval`. The
    tokenizer has a chat template (`set_template`).

    Raises:
        InvalidInput: if a row is broken (see `BrokenRows`), or the chat template does not fit.
    """
    file = data.train if split == "train" else data.eval
    if file is None:
        return []
    broken = BrokenRows(data.on_broken_row)
    prompts: list[Prompt] = []
    usable = 0
    for batch in batched(itertools.islice(_read(data, Path(file), broken), limit), _BATCH):
        usable += len(batch)
        for prompt, ids in zip(batch, _tokenise(batch, tokenizer), strict=True):
            if len(ids) <= data.max_prompt_length:
                prompts.append(replace(prompt, ids=ids))
    broken.report(usable)
    if len(prompts) < usable:
        _log.warning(
            "warning: %s: %d of %d prompts are longer than max_prompt_length %d and are left out.",
            file,
            usable - len(prompts),
            usable,
            data.max_prompt_length,
        )
    return prompts


def opened(prompts: Sequence[Prompt], texts: Sequence[str], tokenizer: Any) -> list[Prompt]:
    """Return prompts as the policy reads them with passages.

    Arguments:
        texts: by prompt, what is asked together with its passages.

    Raises:
        InvalidInput: if the chat template does not fit.
    """
    asked = [replace(prompt, messages=prompt.asking(text)) for prompt, text in zip(prompts, texts, strict=True)]
    read = [ids for batch in batched(asked, _BATCH) for ids in _tokenise(batch, tokenizer)]
    return [replace(prompt, ids=ids) for prompt, ids in zip(prompts, read, strict=True)]


def judged_ids(prompts: Sequence[Prompt], tokenizer: Any, *, evidence: bool = True) -> list[Sequence[int]]:
    """Return what a reward model reads before the answer to each prompt: with the passage, where there is one.

    These are the tokens before the answer in its training (`load_pairs`): the true passage, else the passages that the
    policy reads, once, and the question. The tokenizer is the reward model's and has a chat template (`set_template`).

    Arguments:
        evidence: whether it reads passages; if not, it reads the question alone.

    Raises:
        InvalidInput: if the chat template does not fit.
    """
    judged = [replace(prompt, messages=_with_evidence(prompt)) if evidence else prompt for prompt in prompts]
    return [ids for batch in batched(judged, _BATCH) for ids in _tokenise(batch, tokenizer)]


def _tokenise(prompts: Sequence[Prompt], tokenizer: Any) -> list[Sequence[int]]:
    conversations = [Conversation(prompt.messages, prompt.place) for prompt in prompts]
    return [array("i", ids) for ids in generation_prompts(conversations, tokenizer)]


def _with_evidence(prompt: Prompt) -> tuple[Message, ...]:
    evidence = "\n".join(prompt.passages) if prompt.evidence is None else prompt.evidence
    return prompt.asking(with_passage(evidence, prompt.text)) if evidence else prompt.messages


def _last_asked(messages: Sequence[Message]) -> int:
    return max(index for index, message in enumerate(messages) if message.role == "user")


def _read(data: PromptData, path: Path, broken: BrokenRows) -> Iterator[Prompt]:
    """Yield what the rows say, not yet as tokens."""
    for row in read_rows(path, broken):
        try:
            yield _prompt(data, row)
        except Unusable as problem:
            broken.add(row.place, str(problem))


def _prompt(data: PromptData, row: Row) -> Prompt:
    answers = _answers(row.values.get(data.answers_key), data.answers_key)
    group = row.values.get(data.group_key)
    return Prompt(
        ids=(),
        messages=_conversation(data, row.values),
        answers=answers or (),
        answerable=_answerable(row.values.get("answerable"), answers),
        evidence=_evidence(data, row.values),
        group=str(group) if group is not None else None,
        place=row.place,
    )


def _conversation(data: PromptData, values: Mapping[str, Any]) -> tuple[Message, ...]:
    key = next((key for key in (data.prompt_key, *_OTHER_KEYS) if key in values), data.prompt_key)
    turns = values.get(key)
    if not isinstance(turns, list):
        return (Message("user", text_of(values, key)),)
    messages = [as_message(turn, number) for number, turn in enumerate(turns, 1)]
    while messages and messages[-1].role == "assistant":
        messages.pop()
    if not any(message.role == "user" and message.content.strip() for message in messages):
        raise Unusable(f"has no message of the user under {key!r}")
    return tuple(messages)


def _answers(given: object, key: str) -> tuple[str, ...] | None:
    """Return the accepted answers, None if the row says nothing about them.

    They are a list of texts, one text, or, in rows of SQuAD, an object with the list under `text`.
    """
    if isinstance(given, Mapping):
        given = given.get("text")
    if given is None or given == "":
        return None
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list) or not all(isinstance(answer, str) and answer.strip() for answer in listed):
        raise Unusable(f"has {key!r} that are neither a text nor a list of texts")
    return tuple(listed)


def _answerable(given: object, answers: tuple[str, ...] | None) -> bool | None:
    if given is None or given == "":
        return None if answers is None else bool(answers)
    if isinstance(given, str):  # a cell of a CSV file
        given = {"true": True, "false": False}.get(given.strip().lower())
    if not isinstance(given, bool):
        raise Unusable("has an 'answerable' that is neither true nor false")
    return given


def _evidence(data: PromptData, values: Mapping[str, Any]) -> str | None:
    evidence = values.get(data.evidence_key) if data.evidence_key is not None else None
    if evidence is not None and not isinstance(evidence, str):
        raise Unusable(f"has a {data.evidence_key!r} that is no text but {type(evidence).__name__}")
    return evidence or None
