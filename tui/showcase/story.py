"""The generated experiments: a 13-billion-parameter model that makes things up, and what was tried against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.job.durable import folder_hash
from engine.store import events, experiments
from engine.telemetry.records import Level
from engine.telemetry.states import Desired, State
from tui.showcase import machines
from tui.showcase.answers import Habit, evaluation, samples
from tui.showcase.courses import Embedding, FineTuning, Policy, Preferences
from tui.showcase.history import Attempt, History

HOUR = 3600.0
BEFORE = Habit((0.96, 0.04), (0.06, 0.9), (0.0, 0.97))
AFTER = Habit((0.95, 0.03), (0.05, 0.11), (0.0, 0.12))
FAR = Habit((0.94, 0.02), (0.04, 0.05), (0.0, 0.04))
READING = Habit((0.99, 0.005), (0.95, 0.01), (0.0, 0.03))
_TRAIN = {"batch_size": 256, "eval_every": 50, "checkpoint_every": 125, "zero_stage": 3}


@dataclass(frozen=True, slots=True)
class Live:
    """A run that has not ended, and how it goes on: steps between two points, and what its model writes."""

    attempt: Attempt
    stride: int = 1
    answers: Callable[[int], Sequence[tuple[str, str, str]]] | None = None


def fill(history: History, folder: Path, now: float) -> list[Live]:
    """Write the whole past and return what still runs. folder: for evaluations. now: seconds since the epoch."""
    tuned = _fine_tuning(history, now)
    judge = _reward_model(history, now, tuned)
    index = _indexes(history, now)
    policies = _policies(history, now, tuned, judge)
    _evaluations(history, folder, now, {"sft": tuned, **policies}, index)
    return _what_runs(history, now, tuned, judge)


def _sft(
    name: str, *, lr: float, data: str = "faithdial", steps: int = 1500, note: str | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "kind": "sft", "name": name, "note": note, "model": {"path": "models/llama-2-13b"},
        "data": {"train": f"data/{data}.jsonl", "eval": f"data/{data}-eval.jsonl", "max_length": 1024} | more,
        "train": _TRAIN | {"steps": steps, "lr": lr},
    }  # fmt: skip


def _ppo(
    name: str, *, target: float, lr: float = 1e-6, note: str | None = None, steps: int = 400, **data: Any
) -> dict[str, Any]:
    return {
        "kind": "ppo", "name": name, "note": note, "model": {"path": "/data/plumbline/sft-0003/export"},
        "rewards": {"faithful": {"path": "/data/plumbline/rm-0001/export"}},
        "data": {"train": "data/prompts.jsonl", "eval": "data/prompts-eval.jsonl"} | data,
        "ppo": {"kl_target": target, "kl_coef": 0.05},
        "train": _TRAIN | {"steps": steps, "lr": lr},
    }  # fmt: skip


def _fine_tuning(history: History, now: float) -> str:
    clock = history.clock
    clock.now = now - 76 * HOUR
    base = history.add(_sft("baseline", lr=1e-5, note="alpaca + faithdial, first full run"), tags=("base",))
    attempt = history.begin(base, FineTuning(1500, 1.12, 0.22, 1e-5), _nodes(0, 4))
    history.train(attempt, 1500, lambda step: samples(BEFORE, step / 1500))
    history.end(attempt, State.SUCCEEDED)

    clock.now = now - 73 * HOUR
    hot = history.add(_sft("lr-2e-4", lr=2e-4), tags=("sweep",), parent_id=base)
    attempt = history.begin(hot, FineTuning(1500, 1.3, 0.16, 2e-4, diverges_at=566), _nodes(0, 4))
    history.train(attempt, 640)
    history.end(attempt, State.FAILED, "rank 0 (n0) exited with code 1: the loss is not finite since step 604", 1)

    clock.now = now - 71 * HOUR
    warm = history.add(
        _sft("faithful-v3", lr=4e-5, steps=2000, data="faithdial-v3", note="answers without support removed"),
        tags=("base", "paper"),
        parent_id=base,
    )
    course = FineTuning(2000, 0.92, 0.18, 4e-5)
    attempt = history.begin(warm, course, _nodes(0, 4))
    history.train(attempt, 1130, lambda step: samples(BEFORE, step / 2000))
    history.end(attempt, State.LOST, "n2 was not heard for 600 s", 5)
    clock.now += 1800
    experiments.resume(history.store, warm)
    attempt = history.begin(warm, course, _nodes(0, 4), resumed=1000)
    history.train(attempt, 2000, lambda step: samples(BEFORE, step / 2000))
    _made(history, attempt, "model")
    history.end(attempt, State.SUCCEEDED)

    clock.now = now - 66 * HOUR
    packed = history.add(_sft("packed", lr=1e-5, packing=True), tags=("speed",), parent_id=base)
    attempt = history.begin(packed, FineTuning(1500, 1.1, 0.2, 1e-5, seconds=2.6), _nodes(4, 2))
    history.train(attempt, 480)
    experiments.set_desired(history.store, packed, Desired.STOP)
    history.end(attempt, State.STOPPED)
    return warm


def _reward_model(history: History, now: float, tuned: str) -> str:
    history.clock.now = now - 62 * HOUR
    spec = {
        "kind": "rm", "name": "rm-faith", "note": "right before abstaining before wrong, judged by a passage",
        "model": {"path": f"/data/plumbline/{tuned}/export"},
        "data": {"train": "data/preferences.jsonl", "eval": "data/preferences-eval.jsonl"},
        "train": _TRAIN | {"steps": 800, "lr": 8e-6},
    }  # fmt: skip
    judge = history.add(spec, tags=("base", "paper"), taken={tuned: "model"})
    attempt = history.begin(judge, Preferences(800, 0.93, 8e-6), _nodes(0, 4))
    history.train(attempt, 800)
    _made(history, attempt, "reward_model")
    history.end(attempt, State.SUCCEEDED)
    return judge


def _indexes(history: History, now: float) -> str:
    clock = history.clock
    clock.now = now - 58 * HOUR
    small = history.add(_rag("wiki-minilm", "all-MiniLM-L6-v2"), tags=("base",))
    recall = {"recall@1": 0.71, "recall@5": 0.912, "recall@20": 0.973, "mrr@10": 0.797, "ndcg@10": 0.836}
    course = Embedding(240_000, 3900.0, recall)
    attempt = history.begin(small, course, _nodes(6, 1))
    history.train(attempt, course.steps, stride=course.stride)
    history.measure(attempt, course.steps, course.evaluation(course.steps, history.noise))
    _made(history, attempt, "index")
    history.end(attempt, State.SUCCEEDED)
    return small


def _policies(history: History, now: float, tuned: str, judge: str) -> dict[str, str]:
    clock, taken = history.clock, {tuned: "model", judge: "reward_model"}
    clock.now = now - 50 * HOUR
    low = history.add(_ppo("kl-3", target=3.0), tags=("base", "sweep-kl"), taken=taken)
    attempt = history.begin(low, Policy(400, 2.05, 3.1, 1e-6, 0.12), _nodes(0, 4))
    history.train(attempt, 400, lambda step: samples(AFTER, step / 400))
    _made(history, attempt, "policy")
    history.end(attempt, State.SUCCEEDED)

    clock.now = now - 40 * HOUR
    runaway = history.add(_ppo("lr-5e-6", target=6.0, lr=5e-6), tags=("sweep-kl", "broken"), parent_id=low, taken=taken)
    attempt = history.begin(runaway, Policy(400, 2.2, 5.0, 5e-6, 0.3, runs_away_from=160), _nodes(0, 4))
    history.train(attempt, 233, lambda step: samples(BEFORE, step / 400))
    history.tell(attempt, "kl", "kl is 41 nats a sequence, 7 times its target.", step=233, level=Level.ERROR)
    history.end(attempt, State.FAILED, "kl passed its limit of 18 nats a sequence at step 233", 1)

    clock.now = now - 30 * HOUR
    read = history.add(
        _ppo("kl-3-retrieval", target=3.0, note="a third of the prompts carry the passage that wiki-minilm finds",
             retrieval={"index": "/data/plumbline/rag-0001/index", "share": 0.33}),
        tags=("paper",), parent_id=low, taken=taken | {"rag-0001": "index"},
    )  # fmt: skip
    attempt = history.begin(read, Policy(400, 2.3, 3.0, 1e-6, 0.06), _nodes(0, 4))
    history.train(attempt, 400, lambda step: samples(FAR, step / 400))
    _made(history, attempt, "policy")
    history.end(attempt, State.SUCCEEDED)
    return {"ppo": low, "ppo-read": read}


def _evaluations(history: History, folder: Path, now: float, models: Mapping[str, str], index: str) -> None:
    asked = (
        ("after-sft", "sft", BEFORE, False),
        ("after-ppo", "ppo", AFTER, False),
        ("after-ppo-retrieval", "ppo-read", FAR, False),
        ("after-ppo-retrieval-index", "ppo-read", READING, True),
    )
    for place, (name, model, habit, with_passages) in enumerate(asked):
        history.clock.now = now - (20 - 3 * place) * HOUR
        maker = models[model]
        spec: dict[str, Any] = {
            "kind": "eval", "name": name, "model": {"path": f"/data/plumbline/{maker}/export"},
            "questions": "data/questions.jsonl", "group_key": "group",
        }  # fmt: skip
        taken = {maker: "model" if model == "sft" else "policy"}
        if with_passages:
            spec |= {"passages": "index", "retrieval": {"index": f"/data/plumbline/{index}/index"}}
            taken[index] = "index"
        identity = history.add(spec, tags=("paper",), taken=taken)
        attempt = history.begin(identity, FineTuning(240, 1, 1, 1), _nodes(7, 1))
        made = folder / identity
        figures = evaluation(made, habit, with_passages=with_passages)
        for step in range(20, 241, 20):
            history.clock.now += 6
            history.measure(attempt, step, figures | {"tokens_per_second": 1900 + 13.0 * (step % 7)})
        history.tell(
            attempt,
            "artifact",
            "Made the evaluation.",
            step=240,
            kind="evaluation",
            path=str(made),
            sha256=folder_hash(made),
        )
        history.end(attempt, State.SUCCEEDED)


def _what_runs(history: History, now: float, tuned: str, judge: str) -> list[Live]:
    clock, store, taken = history.clock, history.store, {tuned: "model", judge: "reward_model"}
    clock.now = now - 330 * 4.1
    higher = history.add(
        _ppo("kl-6", target=6.0, lr=2e-6, steps=800, note="kl 6: is there more to gain?"), tags=("sweep-kl",),
        parent_id="ppo-0001", taken=taken,
    )  # fmt: skip
    policy = history.begin(higher, Policy(800, 3.1, 7.9, 2e-6, 0.09, lengthens_from=180), _nodes(0, 4))
    history.train(policy, 310, lambda step: samples(AFTER, step / 400))
    events.add(store, higher, 1, "slow_rank", "n2: its steps take 1.8 times the median.", level=Level.WARNING, step=300)

    large = Embedding(1_900_000, 2600.0, {})
    clock.now = now - 420
    index = history.add(_rag("wiki-e5", "e5-base-v2"), parent_id="rag-0001")
    building = history.begin(index, large, _nodes(6, 2))
    history.train(building, 98 * large.stride // 2, stride=large.stride // 2)

    clock.now = now - 300
    longer = history.add(_sft("longer-context", lr=4e-5, steps=3000, data="faithdial-v3"), parent_id=tuned)
    experiments.set_state(store, longer, State.QUEUED, reason="waits for its turn, after ppo-0005")
    waits = history.add(
        _ppo("kl-6-seed-1", target=6.0, lr=2e-6, steps=800), tags=("sweep-kl",), parent_id=higher, taken=taken
    )
    experiments.set_state(store, waits, State.QUEUED, reason=f"needs 4 nodes, 2 are free; after {higher}")
    for minutes in range(40, -1, -1):
        clock.now = now - 60 * minutes
        machines.hear(history, (policy, building), sample=True)
    return [Live(policy, 1, lambda step: samples(AFTER, step / 400)), Live(building, large.stride // 20)]


def _rag(name: str, embedder: str) -> dict[str, Any]:
    return {
        "kind": "rag", "name": name, "corpus": {"path": "data/wiki-2026"}, "embedder": {"path": f"models/{embedder}"},
        "questions": "data/questions.jsonl",
    }  # fmt: skip


def _made(history: History, attempt: Attempt, kind: str) -> None:
    path = "index" if kind == "index" else "export"
    history.tell(attempt, "artifact", f"Made the {kind}.", step=attempt.step, kind=kind, path=path, sha256="0" * 64)


def _nodes(first: int, count: int) -> list[str]:
    return [f"n{node}" for node in range(first, first + count)]
