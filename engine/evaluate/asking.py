"""What an evaluation asks: questions, the passages that go with each, and the choices of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from engine.data.sources import BrokenRows
from engine.errors import InvalidInput
from engine.evaluate.choices import Choices, choices_of
from engine.evaluate.judgements import Question, read_questions
from engine.rag.reading.documents import read_documents
from engine.rag.records import Passage
from engine.spec.models import EvalSpec
from engine.spec.rag import Corpus
from engine.spec.retrieval import Search

# Finds the passages of questions; engine.rag's, but for tests.
Retriever = Callable[[Sequence[str], Search], Sequence[Sequence[Passage]]]
_NAMED = 3  # questions that a message names


@dataclass(frozen=True, slots=True)
class Given:
    """A passage that goes with a question."""

    text: str
    document: str = ""  # id; empty: the passage stands in the question's row
    chunk: str = ""  # id, of one that was found
    title: str = ""
    score: float | None = None  # of the search that found it


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it is put to the model."""

    question: Question
    passages: tuple[Given, ...] | None = None  # the best first; None: closed book
    choices: Choices | None = None  # None: it writes its answer

    def record(self) -> dict[str, Any]:
        """Return it as what JSON has."""
        own = replace(self.question, columns={})
        choices = None if self.choices is None else asdict(self.choices)
        given = None if self.passages is None else [asdict(one) for one in self.passages]
        return {"question": {**asdict(own), "relevant": dict(own.relevant)}, "passages": given, "choices": choices}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Return what `record` has written."""
        question, passages, choices = (record[key] for key in ("question", "passages", "choices"))
        return cls(
            Question(**{**question, "answers": tuple(question["answers"])}),
            None if passages is None else tuple(Given(**one) for one in passages),
            None if choices is None else Choices.of(choices),
        )


def read_asked(spec: EvalSpec, retriever: Retriever | None = None) -> list[Asked]:
    """Return what is to be asked, in the order of the file.

    Raises:
        InvalidInput: if a file cannot be read, rows are broken, no question is left, or a passage that a question names
            is not there; `where` names the line.
        PlumblineError: the index's own, if it cannot be searched.
    """
    questions = _chosen(spec)
    choices = _choices(questions) if spec.format == "multiple_choice" else [None] * len(questions)
    passages: Sequence[tuple[Given, ...] | None] = [None] * len(questions)
    if spec.retrieval is not None:
        found = (retriever or _search)([one.text for one in questions], spec.retrieval)
        passages = [tuple(_given(one) for one in own) for own in found]
    elif spec.passages == "gold":
        passages = _own_passages(questions, spec) if spec.corpus is None else _relevant(questions, spec.corpus)
    return [Asked(*each) for each in zip(questions, passages, choices, strict=True)]


def _chosen(spec: EvalSpec) -> list[Question]:
    questions = read_questions(
        Path(spec.questions), Path(spec.qrels) if spec.qrels is not None else None, numbered=True
    )
    if spec.split is not None:
        questions = [one for one in questions if one.columns.get("split") == spec.split]
        if not questions:
            raise InvalidInput(f"no question has the split {spec.split!r}.", where=spec.questions)
    if spec.limit:
        questions = questions[: spec.limit]
    if spec.group_key == "group":
        return questions
    return [replace(one, group=_group(one.columns, spec.group_key)) for one in questions]


def _group(columns: Mapping[str, Any], key: str | None) -> str | None:
    value = columns.get(key) if key is not None else None
    return None if value in (None, "") else str(value)


def _choices(questions: Sequence[Question]) -> list[Choices]:
    broken = BrokenRows("error")
    found = []
    for question in questions:
        try:
            found.append(choices_of(question.columns))
        except ValueError as error:
            broken.add(question.place, str(error))
    broken.report(0)
    return found


def _search(questions: Sequence[str], search: Search) -> Sequence[Sequence[Passage]]:
    from engine.rag.opening import open_searcher

    searcher = open_searcher(Path(search.index), Path(search.embedder) if search.embedder is not None else None)
    return searcher.search(questions, search.passages, mode=search.mode, fusion=search.fusion)


def _given(found: Passage) -> Given:
    return Given(found.chunk.text, found.chunk.document, found.chunk.id, found.title, found.score)


def _own_passages(questions: Sequence[Question], spec: EvalSpec) -> list[tuple[Given, ...]]:
    """Return the passages that stand in the questions' rows: a text, or several."""
    broken = BrokenRows("error")
    found = []
    for question in questions:
        value = question.columns.get(spec.evidence_key)
        texts = value if isinstance(value, list) else [value] if value is not None else []
        if not all(isinstance(text, str) for text in texts):
            broken.add(question.place, f"has {spec.evidence_key} that is no text")
            texts = []
        found.append(tuple(Given(text) for text in texts if text.strip()))
    broken.report(0)
    if not any(found):
        raise InvalidInput(
            f"no question has a passage in its column {spec.evidence_key}.",
            hint="Name the column with evidence_key, or the documents with corpus.",
            where=spec.questions,
        )
    return found


def _relevant(questions: Sequence[Question], corpus: str) -> list[tuple[Given, ...]]:
    """Return the relevant documents of each question, those of the best grade first."""
    wanted = {name for question in questions for name, grade in question.relevant.items() if grade > 0}
    if not wanted:
        raise InvalidInput(
            "no question names a relevant document.",
            hint="Questions name documents in passages, or give their judgements with qrels.",
            where=corpus,
        )
    documents = {
        one.id: Given(one.text, one.id, title=one.title)
        for one in read_documents(Corpus(path=corpus), lambda rejected: None)
        if one.id in wanted
    }
    if missing := sorted(wanted - documents.keys()):
        named = ", ".join(map(repr, missing[:_NAMED]))
        raise InvalidInput(
            f"{len(missing)} documents that questions name are not there, among them {named}.", where=corpus
        )
    return [
        tuple(
            documents[name] for name, grade in sorted(question.relevant.items(), key=lambda one: -one[1]) if grade > 0
        )
        for question in questions
    ]
