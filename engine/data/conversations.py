"""What a row says: a conversation or a plain text, in each of the formats, and which rows are held out."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.data.sources import BrokenRows, read_rows
from engine.errors import InvalidInput
from engine.spec.sections import Data

Split = Literal["train", "eval"]
Format = Literal["chat", "prompt_response", "text", "truth_judged"]

# The roles of ShareGPT's `from`, under the names that chat templates know.
_ROLES = {"human": "user", "gpt": "assistant"}
_JUDGED = re.compile(r"Q: (.*?)\nA: (.*)\nTrue:\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Message:
    """A turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns, of which the assistant's are learned; or a plain text, which is one turn without a role."""

    messages: tuple[Message, ...]
    place: str  # FILE:LINE

    @property
    def text(self) -> str | None:
        """The plain text, None if this is a conversation."""
        return self.messages[0].content if self.messages[0].role == "" else None

    @property
    def question(self) -> str:
        """What is asked, in the form in which the same question is recognised: no case, single spaces."""
        asked = next((message for message in self.messages if message.role == "user"), self.messages[0])
        return as_question(asked.content)


class Unusable(Exception):
    """A row that is not what its format says; the text completes the sentence `the row …`."""


def read_conversations(data: Data, split: Split, broken: BrokenRows) -> Iterator[Conversation]:
    """Yield what the rows of a split say, in order; rows that do not fit the format go to `broken`.

    Without an evaluation file, `data.eval_fraction` of the questions of the training file are the evaluation split: a
    hash of the question decides, so that all rows of one question fall on the same side, in each run.

    Raises:
        InvalidInput: if the file cannot be read, or its columns fit no format.
    """
    if data.eval is not None:
        yield from _all(data, Path(data.train if split == "train" else data.eval), broken)
    elif split == "train" or data.eval_fraction > 0.0:
        for conversation in _all(data, Path(data.train), broken):
            if held_out(conversation.question, data.eval_fraction) == (split == "eval"):
                yield conversation


def as_question(text: str) -> str:
    """Return a text without case, with single spaces: the form in which the same question is recognised."""
    return " ".join(text.casefold().split())


def held_out(question: str, fraction: float) -> bool:
    """Whether a question belongs to the evaluation split, by its SHA-256."""
    number = int.from_bytes(hashlib.sha256(question.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    return number < fraction * 2**64


def _all(data: Data, path: Path, broken: BrokenRows) -> Iterator[Conversation]:
    rows = read_rows(path, broken)
    first = next(rows, None)
    if first is None:
        return
    kind: Format = _detect(data, first.values, first.place) if data.format == "auto" else data.format
    parse, seen = _PARSERS[kind], set()
    for row in itertools.chain([first], rows):
        try:
            messages = parse(data, row.values)
        except Unusable as problem:
            broken.add(row.place, str(problem))
            continue
        if kind == "truth_judged":
            if not messages or messages in seen:
                continue
            seen.add(messages)
        yield Conversation(messages, row.place)


def _detect(data: Data, values: Mapping[str, Any], place: str) -> Format:
    """Return the format that the columns of the first row show."""
    if data.messages_key in values:
        return "chat"
    if data.prompt_key in values and data.response_key in values:
        return "prompt_response"
    if is_judged(values):
        return "truth_judged"
    if data.text_key in values:
        return "text"
    raise InvalidInput(
        f"the columns {', '.join(map(str, values)) or '(none)'} fit no format.",
        hint="Name them: data.format with data.messages_key, data.prompt_key and data.response_key, or data.text_key.",
        where=place,
    )


def text_of(values: Mapping[str, Any], key: str) -> str:
    """Return the text in a column of a row. Raises Unusable if there is none."""
    if key not in values:
        raise Unusable(f"has no {key!r}; it has {', '.join(map(str, values)) or 'nothing'}")
    text = values[key]
    if not isinstance(text, str):
        raise Unusable(f"has a {key!r} that is no text but {type(text).__name__}")
    if not text.strip():
        raise Unusable(f"has an empty {key!r}")
    return text


def _chat(data: Data, values: Mapping[str, Any]) -> tuple[Message, ...]:
    turns = values.get(data.messages_key)
    if not isinstance(turns, list) or not turns:
        raise Unusable(f"has no list of messages under {data.messages_key!r}")
    messages = tuple(as_message(turn, number) for number, turn in enumerate(turns, 1))
    if not any(message.role == "assistant" for message in messages):
        raise Unusable("has no message of the assistant")
    return messages


def as_message(turn: object, number: int) -> Message:
    """Return what a turn of a conversation says, the `number`th. Raises Unusable if it has no role or no content."""
    if not isinstance(turn, Mapping):
        raise Unusable(f"has a message {number} that is no object")
    role = turn.get("role") or turn.get("from")
    content = turn["content"] if "content" in turn else turn.get("value")
    if not isinstance(role, str) or not isinstance(content, str):
        raise Unusable(f"has a message {number} without role and content")
    role = _ROLES.get(role, role)
    if role == "assistant" and not content.strip():
        raise Unusable(f"has an empty message {number} of the assistant")
    return Message(role, content)


def _prompt_response(data: Data, values: Mapping[str, Any]) -> tuple[Message, ...]:
    prompt, response = text_of(values, data.prompt_key), text_of(values, data.response_key)
    return Message("user", prompt), Message("assistant", response)


def _plain(data: Data, values: Mapping[str, Any]) -> tuple[Message, ...]:
    return (Message("", text_of(values, data.text_key)),)


def _truth_judged(data: Data, values: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return question and answer of a row of TruthfulQA's judge data; nothing if the answer was judged untrue."""
    question, answer, is_true = judged_answer(values)
    return (Message("user", question), Message("assistant", answer)) if is_true and question and answer else ()


def judged_answer(values: Mapping[str, Any]) -> tuple[str, str, bool]:
    """Return question, answer, and whether it was judged true, of a row of TruthfulQA's judge data.

    Question or answer may be empty. Raises Unusable if the row is of another form.
    """
    found = _JUDGED.fullmatch(text_of(values, "prompt"))
    verdict = text_of(values, "completion").strip().casefold()
    if found is None or verdict not in ("yes", "no"):
        raise Unusable("is not `Q: …`, `A: …`, `True:` with the completion yes or no")
    return found[1].strip(), found[2].strip(), verdict == "yes"


def is_judged(values: Mapping[str, Any]) -> bool:
    """Whether a row has the form of TruthfulQA's judge data."""
    prompt = values.get("prompt")
    return isinstance(prompt, str) and "completion" in values and _JUDGED.fullmatch(prompt) is not None


_PARSERS: dict[Format, Callable[[Data, Mapping[str, Any]], tuple[Message, ...]]] = {
    "chat": _chat,
    "prompt_response": _prompt_response,
    "text": _plain,
    "truth_judged": _truth_judged,
}
