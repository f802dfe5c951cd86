"""A database as a pipeline leaves it: SFT, reward model, PPO, an index, and evaluations of each stage."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.evaluate.answer_rows import Row, ScoredClaim, cause_of
from engine.evaluate.asking import Asked, Given
from engine.evaluate.grounded import Grounding
from engine.evaluate.judgements import Question
from engine.evaluate.results import panel_of, write_answers
from engine.job.durable import folder_hash
from engine.report.records import Found
from engine.spec.loading import parse_spec
from engine.store import attempts, experiments, facts
from engine.store.database import Store
from engine.store.inputs import Input
from engine.telemetry.reader import Chunk
from engine.telemetry.records import EventRecord, Level, MetricsRecord, SampleRecord, StartRecord
from engine.telemetry.states import State

BEGIN = 1_795_700_000.0  # 2026-11-26
INDEX_QUALITY = {
    "documents": 600,
    "chunks": 600,
    "recall@1": 0.97,
    "mrr@10": 0.981,
    "bytes": 2.6e6,
    "query_seconds": 0.0012,
}
NAMES = ("Ono", "Zelt", "Mira", "Kato", "Bren", "Suri", "Talo", "Vesk")
PLACES = ("Arvik", "Belmo", "Corin", "Dunmar", "Elsen", "Forva")


@dataclass
class World:
    """What was written, and where the results of evaluations lie."""

    store: Store
    folder: Path
    evaluations: dict[str, Path] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)  # by name

    def found(self, **more: Any) -> Found:
        provenance = {
            identity: json.loads((folder / "plumbline.json").read_text())
            for identity, folder in self.evaluations.items()
        }
        return Found(**{"evaluations": self.evaluations, "provenance": provenance, "problems": (), **more})


def questions(count: int) -> list[Question]:
    """Known, unknown and unanswerable ones in turn."""
    found = []
    for number in range(count):
        group = ("known", "unknown", "unknown", "known", "unanswerable")[number % 5]
        name = f"{NAMES[number % 8]} {chr(65 + number % 26)}{number}"
        answers = () if group == "unanswerable" else (PLACES[number % 6], f"the city of {PLACES[number % 6]}")
        text = f"Where was {name} born?"
        found.append(Question(f"q{number:04d}", text, answers, group != "unanswerable", {f"doc-{number}": 1}, group))
    return found


# Correct and abstained by group, closed book and with passages; the rest is hallucinated.
SHARES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "base": {"known": (0.35, 0.02), "unknown": (0.05, 0.02), "unanswerable": (0.0, 0.05)},
    "sft": {"known": (0.97, 0.0), "unknown": (0.06, 0.10), "unanswerable": (0.0, 0.12)},
    "ppo": {"known": (0.96, 0.03), "unknown": (0.02, 0.95), "unanswerable": (0.0, 0.97)},
    "sft+retrieval": {"known": (0.97, 0.01), "unknown": (0.88, 0.04), "unanswerable": (0.0, 0.45)},
    "ppo+retrieval": {"known": (0.98, 0.01), "unknown": (0.95, 0.04), "unanswerable": (0.0, 0.96)},
}


def pairs_of(system: str, asked: Sequence[Question]) -> list[tuple[Asked, Row]]:
    """The answers of a system, drawn by its shares."""
    draw = random.Random(system)
    found = []
    for place, question in enumerate(asked):
        right, refused = SHARES[system][question.group or ""]
        at = draw.random()
        outcome = "correct" if at < right else "abstained" if at < right + refused else "hallucinated"
        truth = question.answers[0] if question.answers else ""
        wrong = PLACES[(place + 1 + draw.randrange(5)) % 6]
        said = {"correct": f"In {truth}.", "abstained": "I don't know.", "hallucinated": f"In {wrong}."}[outcome]
        sure = min(0.999, max(0.01, draw.gauss({"correct": 0.85, "hallucinated": 0.55}.get(outcome, 0.7), 0.18)))
        passages: tuple[Given, ...] | None = None
        extra: dict[str, Any] = {}
        if "+" in system:
            hit = bool(question.answers) and (outcome == "correct" or draw.random() < 0.3)
            first = (
                f"{question.text[10:-6]} was born in {truth if hit else 'a small village by the sea'}, and lived there."
            )
            passages = (
                Given(first, f"doc-{place if hit else place + 7}", f"c{place}", "Lives & places", 12.5),
                Given("Arvik lies on the river Tem.", "doc-9000", "c9000", "", 3.25),
            )
            asserts = outcome != "abstained"
            supported = hit and outcome == "correct"
            extra = {
                "read": (0, 1),
                "citations": (1,) if asserts else (),
                "claims": (ScoredClaim(said, (1,), 0.9 if supported else 0.1, supported),) if asserts else (),
                "grounding": Grounding(
                    int(asserts), int(supported), 0, 0, 0, 0, int(supported), int(asserts), int(supported)
                ),
                "hit": hit if question.answers else None,
                "recall": float(hit) if question.answers else None,
            }
        row = Row(said, outcome, sure, sure, sure ** (1 / 3), 4, **extra)  # type: ignore[arg-type]
        cause = cause_of(
            row.outcome,
            answerable=question.answerable,
            closed_book=passages is None,
            hit=row.hit,
            claims=row.claims,
        )
        found.append(
            (Asked(question, passages), Row(**{**{name: getattr(row, name) for name in Row.__slots__}, "cause": cause}))
        )
    return found


def write_evaluation(folder: Path, pairs: Sequence[tuple[Asked, Row]]) -> Path:
    """An evaluation as the job leaves it."""
    folder.mkdir(parents=True)
    write_answers(pairs, folder / "answers.jsonl")
    (folder / "panel.json").write_text(json.dumps(panel_of(pairs, {"seed": 0}, 0)), encoding="utf-8")
    software = {
        "code": {"plumbline": "0.1.0", "commit": "75dd1f5c0ffee", "changed": False},
        "python": "3.11.9",
        "libraries": {"torch": "2.13.0", "transformers": "5.1.0"},
    }
    (folder / "plumbline.json").write_text(json.dumps(software), encoding="utf-8")
    return folder


class Filling:
    """Writes experiments into a database, as launches and runs do."""

    def __init__(self, world: World) -> None:
        self.world, self._clock = world, BEGIN

    def run(
        self,
        name: str,
        spec: str,
        *,
        curves: Callable[[int], Mapping[str, float]] | None = None,
        steps: int = 0,
        takes: Mapping[str, str] | None = None,
        makes: str | None = None,
        sha256: str = "ab" * 32,
        restart: int | None = None,
        events: Sequence[EventRecord] = (),
        samples: Sequence[SampleRecord] = (),
        last: Mapping[str, float] | None = None,
    ) -> str:
        """One experiment that succeeded. takes: path in the spec, and the name of who made that."""
        store, ids = self.world.store, self.world.ids
        inputs = [
            Input(f"${{{parent}.{path.rpartition('/')[2]}}}", path, ids[parent], "model", "cd" * 32, 400)
            for path, parent in (takes or {}).items()
        ]
        identity = experiments.create(store, parse_spec(spec), name=name, inputs=inputs)
        ids[name] = identity
        seats = [{"host": "node-1", "index": 0, "slots": 2, "first_rank": 0}]
        launches = 1 if restart is None else 2
        offset = 0
        for number in range(1, launches + 1):
            begun = attempts.begin(store, identity, run_dir=str(self.world.folder / identity), placement=seats)
            for state in (State.STARTING, State.RUNNING):
                attempts.transition(store, identity, begun.number, state)
            first = 0 if number == 1 else restart or 0
            upto = steps if number == launches else (restart or 0) + 20
            records: list[Any] = [StartRecord(self._clock, number, first, steps)]
            for step in range(first + 1, upto + 1):
                values = curves(step) if curves is not None else {}
                records.append(MetricsRecord(self._clock + 2 * step, number, step, values))
            if last is not None and number == launches:
                records.append(MetricsRecord(self._clock + 2 * steps, number, max(1, steps), last))
            chunk = Chunk(tuple(records), offset + 1000, (), False)
            assert facts.ingest(store, identity, "metrics.jsonl", chunk, offset)
            offset += 1000
            ended = State.SUCCEEDED if number == launches else State.LOST
            reason = None if ended is State.SUCCEEDED else "node-1 is silent."
            if number == launches:
                attempts.transition(store, identity, number, ended, reason=reason, exit_code=0)
            else:
                again = attempts.Again("node-1 is silent.", self._clock, 1)
                attempts.transition(store, identity, number, ended, reason=reason, exit_code=1, again=again)
        told = list(events)
        if makes is not None:
            data = {"kind": makes, "path": "export" if makes != "evaluation" else "evaluation", "sha256": sha256}
            told.append(EventRecord(self._clock + 900, launches, "artifact", "Made it.", step=steps, data=data))
        assert facts.ingest(store, identity, "events.jsonl", Chunk(tuple(told), 50, (), False), 0)
        assert facts.ingest(store, identity, "samples.jsonl", Chunk(tuple(samples), 50, (), False), 0)
        self._clock += 1000
        return identity

    def evaluate(self, name: str, system: str, model: str, made_by: str | None, asked: Sequence[Question]) -> str:
        """An evaluation of a model, with the passages of an index where the system's name says so."""
        spec = f"kind: eval\nmodel: {{path: {model}}}\nquestions: /data/questions.jsonl\n"
        takes = {model: made_by} if made_by is not None else {}
        if "+" in system:
            spec += "passages: index\nretrieval: {index: /runs/index, passages: 2}\n"
            takes["/runs/index"] = "facts-index"
        pairs = pairs_of(system, asked)
        number = sum(one.startswith("eval-") for one in self.world.ids.values()) + 1
        folder = write_evaluation(self.world.folder / f"eval-{number:04d}" / "evaluation", pairs)
        figures = json.loads((folder / "panel.json").read_text())["figures"]
        heard = {key: figures[key]["value"] for key in ("correct", "abstained", "hallucinated", "score")}
        identity = self.run(
            name, spec, steps=len(asked), takes=takes, makes="evaluation", sha256=folder_hash(folder), last=heard
        )
        self.world.evaluations[identity] = folder
        return identity


def noisy(seed: str) -> Callable[[], float]:
    """A stream of small numbers around 0, the same each time."""
    draw = random.Random(seed)
    return lambda: draw.gauss(0, 1)


def samples_of(asked: Sequence[Question], steps: int) -> Iterator[SampleRecord]:
    """What PPO wrote to some of the questions."""
    for question in asked[:40]:
        scores = {"score": 0.4, "reward/faithful": 0.7, "reward/supported": -0.3, "kl": 1.25}
        yield SampleRecord(BEGIN, 1, steps, f"A passage before.\n{question.text}", "I don't know.", None, scores)


def fill(folder: Path, count: int = 300, systems: Sequence[str] = tuple(SHARES)) -> World:
    """A whole pipeline, with evaluations by `count` questions."""
    world = World(Store.open(folder / "experiments.db"), folder / "runs")
    filling, asked, noise = Filling(world), questions(count), noisy("curves")

    def sft(step: int) -> dict[str, float]:
        loss = 0.35 + 3.2 * math.exp(-step / 60) + 0.12 * noise()
        found = {
            "loss": loss,
            "lr": 2e-3 * (1 - step / 420),
            "grad_norm": 1 + 0.2 * noise(),
            "tokens_per_second": 10_500 + 400 * noise(),
        }
        if step % 50 == 0:
            found["eval_loss"] = 0.4 + 3 * math.exp(-step / 55)
        if step in (120, 121):
            found["grad_norm"] = math.nan
        return found | {"memory_bytes": 1.4e9, "seconds_per_step": 0.2}

    def ppo(step: int) -> dict[str, float]:
        wrong = 0.5 * math.exp(-step / 20) + 0.02
        right = 0.46 + 0.01 * noise()
        found = {
            "score": 0.9 - wrong * 1.8 + 0.05 * noise(),
            "kl": 3 * (1 - math.exp(-step / 25)) + 0.1 * noise(),
            "entropy": 1.2 * math.exp(-step / 40) + 0.1,
        }
        found |= {"hallucinated": wrong, "correct": right, "abstained": max(0.0, 1 - wrong - right)}
        found |= {
            "hallucinated/unknown": wrong * 1.5,
            "correct/unknown": 0.03,
            "abstained/unknown": max(0.0, 0.97 - 1.5 * wrong),
        }
        found |= {
            "reward/faithful": 0.8 - wrong,
            "reward/supported": -wrong / 2,
            "response_length": 3.4,
            "value_loss": 0.3,
            "explained_variance": 0.4,
            "clip_fraction": 0.08,
        }
        return found

    def rm(step: int) -> dict[str, float]:
        return {"loss": 0.7 * math.exp(-step / 90), "accuracy": 1 - 0.5 * math.exp(-step / 60), "margin": step / 50}

    filling.run(
        "facts-sft",
        "kind: sft\nmodel: {path: /models/tiny-base}\ndata: {train: /data/sft.jsonl}\ntrain: {lr: 2.0e-3, steps: 400}",
        curves=sft, steps=400, makes="model", restart=200,
        events=[EventRecord(BEGIN + 240, 1, "health", "grad_norm is not a number.", Level.WARNING, 120, {})],
    )  # fmt: skip
    filling.run(
        "facts-rm", "kind: rm\nmodel: {path: /models/tiny-base}\ndata: {train: /data/preferences.jsonl}",
        curves=rm, steps=200, makes="reward_model",
    )  # fmt: skip
    filling.run(
        "facts-index", "kind: rag\ncorpus: {path: /data/corpus.jsonl}", steps=1, makes="index",
        last=INDEX_QUALITY,
    )  # fmt: skip
    filling.run(
        "facts-ppo",
        "kind: ppo\nmodel: {path: /runs/sft/model}\nrewards: {faithful: {path: /runs/rm/reward_model}}\n"
        "data: {train: /data/prompts.jsonl}\nppo: {kl_coef: 0.05}",
        curves=ppo, steps=90, makes="policy",
        takes={"/runs/sft/model": "facts-sft", "/runs/rm/reward_model": "facts-rm"},
        samples=list(samples_of(asked, 90)),
    )  # fmt: skip
    models = {
        "base": ("/models/tiny-base", None),
        "sft": ("/runs/sft/model", "facts-sft"),
        "ppo": ("/runs/ppo/policy", "facts-ppo"),
    }
    for system in systems:
        model, made_by = models[system.partition("+")[0]]
        filling.evaluate(f"facts-eval-{system.replace('+', '-')}", system, model, made_by, asked)
    return world
