"""The job of an evaluation: rank 0 looks up what is asked, all ranks answer, rank 0 judges the whole.

What takes long is kept in `work/` in the run directory: `work/asked.json` (questions with their passages) and
`work/answers-KEY` (finished pieces). What was cut off goes on from there, unless an input or the spec has changed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.evaluate import results
from engine.evaluate.answer_rows import Row
from engine.evaluate.asking import Asked, read_asked
from engine.evaluate.dealing import Dealing
from engine.evaluate.faithfulness.scorer import Scorer
from engine.evaluate.respondent import Respondent
from engine.evaluate.telling import Telling
from engine.job import durable
from engine.job.attempt import Attempt, Stopped, run_attempt
from engine.job.board import Board
from engine.job.provenance import Origin, Provenance
from engine.job.runtime import explained
from engine.spec.canonical import flatten
from engine.spec.models import EvalSpec

EVALUATION, WORK = "evaluation", "work"
_ROWS_VERSION = 1  # raise it when rows of an earlier version may not stand beside new ones
_SMALLER = "Lower answers.batch_size."
# Batches of a piece: what is dealt to a rank, and what a cut-off loses.
_BATCHES = 2
# What changes no answer.
_IDLE = frozenset({"name", "note", "placement", "supervision", "examples"})


def run(spec: EvalSpec, run_dir: Path, attempt: int) -> int:
    """Evaluate as the spec says, going on where an earlier attempt was cut off. Called by all ranks.

    Returns:
        0 when the evaluation is there, 130 when it stopped before.

    Raises:
        PlumblineError: with one sentence on what went wrong.
    """
    return run_attempt(run_dir, attempt, unit="question", body=lambda here: _Evaluation(spec, here).run())


class _Evaluation:
    def __init__(self, spec: EvalSpec, attempt: Attempt) -> None:
        self.spec, self.run_dir = spec, attempt.run_dir
        self.ranks, self.journal, self.stop = attempt.ranks, attempt.journal, attempt.stop
        self.board = Board("evaluation")
        self.origin = Origin(spec, self.run_dir, self.journal.attempt) if self.ranks.is_main else None

    def run(self) -> None:
        key, asked = self._asked()
        with explained("loading the model", smaller=_SMALLER):
            respondent = Respondent(self.spec, str(self.ranks.device))
        size = _BATCHES * self.spec.answers.batch_size
        pieces = [asked[start : start + size] for start in range(0, len(asked), size)]
        folder = self.run_dir / WORK / f"answers-{key[:16]}"
        dealing = Dealing([len(piece) for piece in pieces], folder, self.ranks)
        with explained("answering", smaller=_SMALLER):
            complete = self._answer(pieces, dealing, respondent)
        if not complete:
            raise Stopped
        if self.ranks.is_main:
            self.journal.mark(len(asked), "evaluate")
            with explained("judging the answers"):
                pairs = [pair for number, piece in enumerate(pieces) for pair in _paired(piece, dealing.rows[number])]
                self._finish(pairs, respondent.scorer)
        if self.ranks.is_folder_main:
            durable.remove_folder(self.run_dir / WORK)

    def _answer(self, pieces: Sequence[Sequence[Asked]], dealing: Dealing, respondent: Respondent) -> bool:
        """Have all questions answered, and told; return whether all are."""
        there = [pair for number in sorted(dealing.rows) for pair in _paired(pieces[number], dealing.rows[number])]
        telling = Telling(self.journal, self.spec, [asked for piece in pieces for asked in piece], there)
        self.journal.started(len(there), telling.total)
        return dealing.work(
            lambda number: respondent.rows(pieces[number]),
            lambda: self.stop.requested,
            lambda number, rows: telling.take(_paired(pieces[number], rows)),
            lambda done: self.journal.mark(done, "generate"),
        )

    # ---- what is asked

    def _asked(self) -> tuple[str, list[Asked]]:
        """Return the key of all that answers depend on, and what is asked; rank 0 looks it up for all."""
        self.journal.mark(0, "build")
        told: tuple[str, list[dict[str, Any]]] | None = None
        if self.ranks.is_main:
            with explained("looking up what is asked"):
                told = self._looked_up()
            self.board.post("asked")
        else:
            self.board.await_note("asked", lambda: self.journal.mark(0, "build"))
        key, records = self.ranks.from_main(told)
        return key, [Asked.of(one) for one in records]

    def _looked_up(self) -> tuple[str, list[dict[str, Any]]]:
        assert self.origin is not None
        key = _key(self.spec, self.origin.of(EVALUATION, 0))
        file = self.run_dir / WORK / "asked.json"
        if (kept := durable.read_json(file)) is not None and kept["key"] == key:
            return key, kept["asked"]
        if file.parent.exists():
            durable.remove_folder(file.parent)
        file.parent.mkdir(parents=True)
        began = time.monotonic()
        records = [one.record() for one in read_asked(self.spec)]
        temporary = file.with_name(".tmp-asked")
        durable.write_json(temporary, {"key": key, "asked": records})
        temporary.rename(file)
        durable.sync(file.parent)
        if self.spec.retrieval is not None:
            seconds = time.monotonic() - began
            found = sum(len(one["passages"]) for one in records)
            self.journal.event(
                "retrieved", f"Found {found:,} passages for {len(records):,} questions in {seconds:.1f} s."
            )
        return key, records

    # ---- the result

    def _finish(self, pairs: Sequence[results.Pair], scorer: Scorer | None) -> None:
        making = self.run_dir / WORK / EVALUATION
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        panel = results.panel_of(pairs, _settings(self.spec, scorer), self.spec.seed)
        results.write_answers(pairs, making / results.ANSWERS)
        durable.sync(making / results.ANSWERS)
        durable.write_json(making / results.PANEL, panel)
        assert self.origin is not None
        scores = {"scorer": _named(scorer)} if scorer is not None else {}
        self.origin.of(EVALUATION, len(pairs), **scores).write(making)
        durable.sync(making)
        target = self.run_dir / EVALUATION
        durable.replace_folder(making, target)
        step, digest = len(pairs), durable.folder_hash(target)
        self.journal.event(
            "artifact", "Made the evaluation.", step=step, kind=EVALUATION, path=EVALUATION, sha256=digest
        )
        counts = panel["counts"]
        self.journal.event(
            "finished",
            f"Finished: of {step:,} answers {counts['correct']:,} are correct, {counts['abstained']:,} abstain, "
            f"{counts['hallucinated']:,} are hallucinated.",
            step=step,
        )


def _paired(piece: Sequence[Asked], rows: Sequence[Row]) -> list[results.Pair]:
    return list(zip(piece, rows, strict=True))


def _key(spec: EvalSpec, provenance: Provenance) -> str:
    """Return a digest of all that answers depend on: the spec, with the content of files in place of their paths."""
    document = provenance.document
    told = {key: value for key, value in flatten(spec).items() if key.partition(".")[0] not in _IDLE}
    told |= {key: one["sha256"] for key, one in {**document["parents"], **document["data"]}.items()}
    words = [_ROWS_VERSION, sorted((key, value) for key, value in told.items())]
    return hashlib.sha256(json.dumps(words, default=str).encode()).hexdigest()


def _settings(spec: EvalSpec, scorer: Scorer | None) -> dict[str, Any]:
    """Return what the figures depend on, without paths of this machine."""
    told = {
        "seed": spec.seed,
        "format": spec.format,
        "passages": spec.passages,
        "split": spec.split,
        "limit": spec.limit,
        "precision": spec.model.precision,
        "answers": spec.answers.model_dump(mode="json", exclude={"prompt"}),
        "grading": spec.grading.model_dump(mode="json"),
    }
    if spec.retrieval is not None:
        told["retrieval"] = spec.retrieval.model_dump(mode="json", exclude={"index", "embedder"})
    if scorer is not None:
        told["support"] = _named(scorer)
    return told


def _named(scorer: Scorer) -> dict[str, Any]:
    """Return a scorer as results name it: its kind, not its folder."""
    name = scorer.name if scorer.sha256 is None else scorer.name.rpartition(":")[0]
    return {"name": name, "version": scorer.version, "sha256": scorer.sha256, "threshold": scorer.threshold}
