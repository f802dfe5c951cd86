"""Questions, with what is known of them: accepted answers, whether there is one, and which documents are relevant.

| file | what it holds |
|---|---|
| rows of any data file | `id`, `question`, `answers`, `aliases`, `answerable`, `group`, `passages` |
| BEIR's `queries.jsonl`; a `.tsv` without header | `_id` and `text`; id and text |
| SQuAD's `.json` | the n-th paragraph of an article, from 0, is the document `TITLE#n` |
| judgements: TREC's qrels; BEIR's `.tsv` | question, iteration, document, grade; question, document, grade |
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.data.answers import contains_answer
from engine.data.published.squad import is_squad, read_squad
from engine.data.sources import BrokenRows, Row, read_rows
from engine.errors import InvalidInput

_ID_KEYS = ("id", "_id", "query_id", "query-id")
_TEXT_KEYS = ("question", "text", "query")
_ANSWER_KEYS = ("answers", "answer", "aliases", "right_answer")
# Columns of TREC's judgements, and of BEIR's, which have no iteration.
_TREC, _BEIR = 4, 3


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and what is known of its answer."""

    id: str
    text: str
    answers: tuple[str, ...] = ()  # all that are accepted, aliases among them
    answerable: bool | None = None  # False: nothing answers it, so a model should abstain; None: not known
    relevant: Mapping[str, int] = field(default_factory=dict)  # grades of judged documents, by id
    group: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)  # all that its row says
    place: str = field(default="", compare=False, repr=False)  # FILE:LINE


def read_questions(path: Path, qrels: Path | None = None, *, numbered: bool = False) -> list[Question]:
    """Return the questions of a file in order, with the judgements of another one in place of their own if it is given.

    A row that names answers and not whether it is answerable counts as answerable. The paragraph of SQuAD's questions
    is their column `evidence`.

    numbered: a row without id is called by its number, from 1.

    Raises:
        InvalidInput: if a file cannot be read, a row is broken or no question of a known form, two have the same id, or
            the judgements are of none of the questions; `where` names the line.
    """
    questions = list(_squad(path)) if is_squad(path) else _from_rows(path, numbered)
    if not questions:
        raise InvalidInput("there is no question.", where=str(path))
    if qrels is None:
        return questions
    judged = read_qrels(qrels)
    if not any(question.id in judged for question in questions):
        raise InvalidInput(
            f"judges none of the questions of {path}; it begins with question {next(iter(judged))!r}.",
            hint=f"The first question there is {questions[0].id!r}: give the judgements of the same questions.",
            where=str(qrels),
        )
    return [replace(question, relevant=judged.get(question.id, {})) for question in questions]


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Return the grade of each judged document, by question.

    Raises:
        InvalidInput: if the file cannot be read, is empty, or a line is no judgement; `where` names the line.
    """
    judged: dict[str, dict[str, int]] = {}
    for number, line in enumerate(_lines(path), 1):
        cells = _cells(line)
        if not line.strip() or (number == 1 and cells[-1:] == ["score"]):
            continue
        place = f"{path}:{number}"
        if not cells:
            raise InvalidInput(
                "is no judgement.",
                hint="A line is: QUESTION ITERATION DOCUMENT GRADE, or QUESTION, DOCUMENT and GRADE parted by tabs.",
                where=place,
            )
        question, *_, document, grade = cells
        try:
            value = int(grade)
        except ValueError as error:
            raise InvalidInput(f"has the grade {grade!r}, which is no whole number.", where=place) from error
        if judged.setdefault(question, {}).setdefault(document, value) != value:
            raise InvalidInput(f"judges document {document!r} for question {question!r} once more.", where=place)
    if not judged:
        raise InvalidInput("there is no judgement.", where=str(path))
    return judged


def _cells(line: str) -> list[str]:
    """Return the columns of a judgement: parted by tabs, or TREC's by any blanks; none if it is no judgement."""
    parted = [cell.strip() for cell in line.split("\t")]
    if len(parted) in (_TREC, _BEIR):
        return parted
    words = line.split()
    return words if len(words) == _TREC else []


def judged_by_answers(question: Question, passages: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return grade 1 for the document of each passage that holds an accepted answer: relevance where none was judged.

    Only what was found is judged so, thus success@k and mrr mean what they say, and recall, map and ndcg do not.

    Arguments:
        passages: id of the document, and text, of what a search found.
    """
    return {document: 1 for document, text in passages if contains_answer(text, question.answers)}


def _from_rows(path: Path, numbered: bool) -> list[Question]:
    broken = BrokenRows("error")
    questions: dict[str, Question] = {}
    for number, row in enumerate(_plain_tsv(path) if _is_plain_tsv(path) else read_rows(path, broken), 1):
        try:
            question = _question(row, str(number) if numbered else None)
        except ValueError as error:
            broken.add(row.place, str(error))
            continue
        if question.id in questions:
            broken.add(row.place, f"has the id {question.id!r} of an earlier one")
        questions[question.id] = question
    if broken.count:
        (place, problem), *others = broken.first
        rest = "".join(f" {there}: it {what}." for there, what in others)
        more = f" {broken.count} rows are broken, among them{rest}" if others else ""
        hint = "A row has an id and a question; docs/measures.md has all forms."
        raise InvalidInput(f"the row {problem}.{more}", hint=hint, where=place)
    return list(questions.values())


def _question(row: Row, name: str | None) -> Question:
    """Return the question of a row. name: its id if the row has none.

    Raises:
        ValueError: if it is none; the message completes the sentence `the row …`.
    """
    values = row.values
    text = next((values[key] for key in _TEXT_KEYS if key in values), None)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"has no text in {', '.join(_TEXT_KEYS[:-1])} or {_TEXT_KEYS[-1]}")
    identifier = next((values[key] for key in _ID_KEYS if values.get(key) not in (None, "")), name)
    if identifier is None:
        raise ValueError("has no id")
    answers = tuple(text for key in _ANSWER_KEYS for text in _texts(values, key))
    answerable = values.get("answerable")
    if answerable is None:
        answerable = True if answers else None
    elif str(answerable).lower() in ("true", "false"):
        answerable = str(answerable).lower() == "true"
    else:
        raise ValueError(f"has answerable {answerable!r}, not true or false")
    group = values.get("group")
    return Question(
        str(identifier),
        text,
        tuple(dict.fromkeys(answers)),
        answerable,
        _grades(values.get("passages")),
        None if group in (None, "") else str(group),
        values,
        row.place,
    )


def _texts(values: Mapping[str, Any], key: str) -> list[str]:
    """Return the texts of a column: a list, one text, or a list written as JSON, as in CSV files."""
    value = values.get(key)
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            value = [value]
    if isinstance(value, str):
        value = [value] if value.strip() else []
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"has {key} that are no list of texts")
    return value


def _grades(passages: Any) -> Mapping[str, int]:
    if isinstance(passages, Mapping):
        if all(type(grade) is int for grade in passages.values()):
            return {str(document): grade for document, grade in passages.items()}
        raise ValueError("has passages whose grades are no whole numbers")
    return dict.fromkeys(_texts({"passages": passages}, "passages"), 1)


def _is_plain_tsv(path: Path) -> bool:
    """Whether a file is a table without header, of ids and texts."""
    if path.suffix != ".tsv" or not path.is_file():
        return False
    first = next(_lines(path), "").lower().split("\t")
    return not set(first) & {*_TEXT_KEYS, *_ID_KEYS}


def _plain_tsv(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            identifier, _, text = line.partition("\t")
            yield Row({"id": identifier.strip(), "text": text}, f"{path}:{number}")


def _lines(path: Path) -> Iterator[str]:
    number = 0
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}.", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"is not UTF-8: {error.reason}.", where=f"{path}:{number}") from error


def _squad(path: Path) -> Iterator[Question]:
    """Yield the questions of a SQuAD file, by articles.

    The gold paragraph of one without answer is not relevant: it was written to look as if it answered.
    """
    for paragraph in read_squad(path):
        for asked in paragraph.asked:
            yield Question(
                asked.id,
                asked.text,
                asked.answers,
                asked.answerable,
                {paragraph.id: 1} if asked.answerable else {},
                paragraph.title,
                {"evidence": paragraph.text},
                f"{path}, {paragraph.id}",
            )
