"""SQuAD's files (Rajpurkar, Jia, Liang 2018, "Know What You Don't Know"): articles, paragraphs, questions on them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Asked:
    """A question on a paragraph."""

    id: str
    text: str
    answers: tuple[str, ...]  # that annotators gave, each once; empty: the paragraph does not answer it
    usual: str | None  # the answer that most of them gave
    spot: tuple[int, int] | None  # [start, end) of the usual answer in the paragraph, or of what looks like one

    @property
    def answerable(self) -> bool:
        """Whether the paragraph answers it."""
        return bool(self.answers)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph and what is asked about it."""

    id: str  # TITLE#N, N its number from 0 in the article
    title: str
    text: str
    asked: tuple[Asked, ...]


def is_squad(path: Path) -> bool:
    """Whether a file is one JSON object with `data`, told by its beginning."""
    if path.suffix != ".json" or not path.is_file():
        return False
    with path.open("rb") as content:
        beginning = content.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    return beginning.startswith(b"{") and b'"data"' in beginning and b'"question"' not in beginning.split(b'"data"')[0]


def read_squad(path: Path) -> Iterator[Paragraph]:
    """Yield the paragraphs of all articles, in order.

    Raises:
        InvalidInput: if the file cannot be read, is not SQuAD's, has a broken question, or two of the same id.
    """
    seen: set[str] = set()
    for identity, title, paragraph in _paragraphs(path):
        asked = []
        for values in paragraph.get("qas", ()):
            try:
                question = _asked(values)
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise InvalidInput(f"a question of paragraph {identity!r} is broken.", where=str(path)) from error
            if question.id in seen:
                raise InvalidInput(f"two questions have the id {question.id!r}.", where=str(path))
            seen.add(question.id)
            asked.append(question)
        yield Paragraph(identity, title, paragraph["context"], tuple(asked))


def _asked(values: Mapping[str, Any]) -> Asked:
    impossible = bool(values.get("is_impossible", False))
    given = [] if impossible else list(map(_spotted, values["answers"]))
    counts = Counter(text for text, _ in given)
    usual = max(counts, key=counts.__getitem__) if counts else None
    likely = given or list(map(_spotted, values.get("plausible_answers") or ()))
    spot = next((spot for text, spot in likely if usual in (None, text)), None)
    return Asked(str(values["id"]), str(values["question"]), tuple(counts), usual, spot)


def _spotted(answer: Mapping[str, Any]) -> tuple[str, tuple[int, int] | None]:
    text, start = str(answer["text"]), answer.get("answer_start")
    return text, None if start is None else (int(start), int(start) + len(text))


def _paragraphs(path: Path) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    try:
        articles = json.loads(path.read_text(encoding="utf-8-sig"))["data"]
        for article in articles:
            title = str(article["title"])
            for number, paragraph in enumerate(article["paragraphs"]):
                if not isinstance(paragraph["context"], str):
                    raise TypeError("a context that is no text")
                yield f"{title}#{number}", title, paragraph
    except json.JSONDecodeError as error:
        raise InvalidInput(f"is not JSON: {error.msg}.", where=f"{path}:{error.lineno}") from error
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}.", where=str(path)) from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            "is not SQuAD: it has no articles with a title and paragraphs with a context.", where=str(path)
        ) from error
