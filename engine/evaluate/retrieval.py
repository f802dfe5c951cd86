"""How well an index finds what questions ask for: ranked documents judged, with intervals, latency and memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.evaluate.intervals import Interval, bootstrap, mean_of, paired_bootstrap
from engine.evaluate.judgements import Question, judged_by_answers, read_questions
from engine.evaluate.ranking import DEFAULT_MEASURES, Measure, distinct, ranking_scores
from engine.rag.searching.search import Fusion, Mode, Searcher

DEPTH = 100  # passages that are asked for
_BATCH = 256
_TIMED = 200  # questions that are asked one at a time, for the latency


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """What one way of searching one index reached."""

    index: str
    mode: Mode
    fusion: Fusion | None  # None: no two rankings were fused
    questions: Sequence[str]  # ids, those with a relevant document
    scores: Mapping[str, NDArray[np.float64]]  # [questions] by measure
    figures: Mapping[str, Interval | None]  # means over the questions, with 95 % intervals
    seconds: float  # of all searches, in batches
    latency_p50: float  # seconds of one question alone
    latency_p99: float
    memory_bytes: int  # most that this process has held so far


def answerable(questions: Sequence[Question], where: str) -> list[Question]:
    """Return the questions by which an index can be measured: those that have a relevant document or an answer.

    Raises InvalidInput if there is none.
    """
    usable = [one for one in questions if one.answerable is not False and (one.relevant or one.answers)]
    if not usable:
        raise InvalidInput("has no question with a relevant document or an answer.", where=where)
    return usable


def measure_index(
    searcher: Searcher,
    questions: Sequence[Question],
    *,
    name: str,
    mode: Mode,
    fusion: Fusion = "ranks",
    measures: Sequence[Measure] = DEFAULT_MEASURES,
    seed: int = 0,
) -> Quality:
    """Ask all questions and judge the documents that are found.

    A document counts where its first passage stands. Questions that name no relevant documents are judged by their
    answers: a passage that contains one is relevant. How many such passages there are is then not known, so that recall
    becomes success, and nDCG and MAP are left out.
    """
    texts = [one.text for one in questions]
    began = time.perf_counter()
    found = [
        passages
        for start in range(0, len(texts), _BATCH)
        for passages in searcher.search(texts[start : start + _BATCH], DEPTH, mode=mode, fusion=fusion)
    ]
    seconds = time.perf_counter() - began
    if not all(one.relevant for one in questions):
        measures = _of_answers(measures)
    rankings = [distinct(passage.chunk.document for passage in passages) for passages in found]
    judgements = [
        one.relevant or judged_by_answers(one, [(passage.chunk.document, passage.chunk.text) for passage in passages])
        for one, passages in zip(questions, found, strict=True)
    ]
    scores = ranking_scores(rankings, judgements, measures)
    latencies = list(_latencies(searcher, texts[:_TIMED], mode, fusion))
    return Quality(
        index=name,
        mode=mode,
        fusion=fusion if mode in ("hybrid", "auto") else None,
        questions=[one.id for one in questions],
        scores=scores,
        figures=bootstrap({measure: mean_of(values) for measure, values in scores.items()}, seed=seed),
        seconds=seconds,
        latency_p50=float(np.quantile(latencies, 0.5)),
        latency_p99=float(np.quantile(latencies, 0.99)),
        memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _of_answers(measures: Sequence[Measure]) -> list[Measure]:
    """Return the measures that need not know all relevant documents: success in place of recall, and MRR."""
    swapped = [Measure("success", one.k) if one.name == "recall" else one for one in measures]
    return [one for one in dict.fromkeys(swapped) if one.name in ("success", "mrr")] or [Measure("success", 5)]


def _latencies(searcher: Searcher, texts: Sequence[str], mode: Mode, fusion: Fusion) -> Iterator[float]:
    for text in texts:
        began = time.perf_counter()
        searcher.search([text], 10, mode=mode, fusion=fusion)
        yield time.perf_counter() - began


def differences(first: Quality, second: Quality, *, seed: int = 0) -> Mapping[str, Interval | None]:
    """Return second − first of each measure, with 95 % intervals over the same questions."""
    return paired_bootstrap(
        {measure: mean_of(values) for measure, values in first.scores.items()},
        {measure: mean_of(values) for measure, values in second.scores.items()},
        seed=seed,
    )


def quality_metrics(folder: Path, questions: Path, embedder: Path | None) -> dict[str, float]:
    """Return what a build logs of its index: recall@1/5/20, MRR and nDCG by its best way of searching."""
    from engine.rag.opening import open_searcher

    usable = answerable(read_questions(questions), str(questions))
    measures = [Measure.parse(text) for text in ("recall@1", "recall@5", "recall@20", "mrr@10", "ndcg@10")]
    quality = measure_index(open_searcher(folder, embedder), usable, name=folder.name, mode="auto", measures=measures)
    found = {name: interval.value for name, interval in quality.figures.items() if interval is not None}
    return {
        **found,
        "queries_per_second": len(usable) / max(quality.seconds, 1e-9),
        "query_seconds": quality.latency_p50,
    }
