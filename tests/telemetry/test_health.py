"""Verdicts on synthetic curves: each rule fires on its fault, and on no healthy run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from engine.telemetry.health import LOOKED_AT, verdicts
from engine.telemetry.health_observed import RECENT, Act, Observed, RankMark
from engine.telemetry.records import Level
from engine.telemetry.smoothing import Floats

STEPS = 400


@dataclass(frozen=True)
class Curve:
    """Points one second apart."""

    step: np.ndarray
    time: Floats
    value: Floats


def curve(values: Floats, every: int = 1) -> Curve:
    step = np.arange(1, values.size + 1, dtype=np.int64) * every
    return Curve(step, step.astype(float), values)


def ppo(seed: int = 0, **faults: Floats) -> Observed:
    """A PPO run as it should be, in the middle, with some curves put in place of its own."""
    noise, at = np.random.default_rng(seed), np.arange(STEPS) / STEPS
    every = STEPS // 20
    healthy = {
        "score": 0.5 + 1.5 * (1 - np.exp(-4 * at)) + noise.normal(0, 0.15, STEPS),
        "kl": 6.0 * (1 - np.exp(-6 * at)) + noise.normal(0, 0.8, STEPS),
        "entropy": 1.8 * np.exp(-1.0 * at) + noise.normal(0, 0.03, STEPS),
        "response_length": 60.0 + noise.normal(0, 4.0, STEPS),
        "grad_norm": noise.gamma(6.0, 0.2, STEPS),
    }
    held_out = {
        "abstained": 0.1 + 0.2 * at[::every] + noise.normal(0, 0.01, 20),
        "hallucinated": 0.4 - 0.2 * at[::every] + noise.normal(0, 0.01, 20),
    }
    series = {name: curve(values) for name, values in (healthy | faults).items() if name not in held_out}
    series |= {name: curve(faults.get(name, values), every) for name, values in held_out.items()}
    ranks = [RankMark(rank, f"n{rank // 2}", STEPS + rank % 2, "generate", 0.5) for rank in range(4)]
    return Observed("ppo", True, series, now=STEPS + 1.0, kl_target=6.0, ranks=ranks)


def sft(seed: int = 0, **faults: Floats) -> Observed:
    """A fine-tuning run as it should be."""
    noise, at = np.random.default_rng(seed), np.arange(STEPS) / STEPS
    healthy = {
        "loss": 1.2 + 2.0 * np.exp(-8 * at) + noise.normal(0, 0.08, STEPS),
        "grad_norm": 0.7 + 2 * np.exp(-9 * at) + noise.gamma(2.0, 0.1, STEPS),
    }
    held_out = faults.pop("eval_loss", 1.25 + 2.0 * np.exp(-8 * at[19::20]) + noise.normal(0, 0.004, 20))
    series = {name: curve(values) for name, values in (healthy | faults).items()}
    return Observed("sft", True, {**series, "eval_loss": curve(held_out, 20)}, now=STEPS + 1.0)


def rules(run: Observed) -> list[str]:
    return [verdict.rule for verdict in verdicts(run)]


@pytest.mark.parametrize("make", [ppo, sft])
def test_a_healthy_run_is_told_nothing_at_any_length(make: Callable[[int], Observed]) -> None:
    for seed in range(40):
        run = make(seed)
        for count in (1, 2, 15, 60, 250, STEPS):
            part = {
                name: Curve(points.step[:count], points.time[:count], points.value[:count])
                for name, points in run.series.items()
            }
            assert rules(replace(run, series=part, now=float(max(p.time[-1] for p in part.values())) + 1)) == []


def late(before: float, after: float, since: int = 370) -> Floats:
    """A level, and another one from some step on."""
    return np.where(np.arange(STEPS) < since, before, after) + np.random.default_rng(1).normal(0, 0.01, STEPS)


RISING = np.linspace(0, 1, STEPS)
SILENT = np.r_[np.linspace(0, 0.9, 16), [0.97] * 4]
FAULTS = {
    "not_finite": (ppo, {"score": late(1.0, np.nan)}, 371, Level.ERROR, Act.KILL),
    "kl_over_limit": (ppo, {"kl": late(6.0, 14.0)}, 371, Level.WARNING, Act.INTERRUPT),
    "collapse": (ppo, {"entropy": late(1.8, 0.1)}, 371, Level.WARNING, Act.INTERRUPT),
    "abstains_always": (
        ppo,
        {"abstained": SILENT},
        340,
        Level.WARNING,
        Act.SAMPLES,
    ),
    "diverged": (sft, {"loss": late(1.2, 4.0)}, 371, Level.ERROR, Act.INTERRUPT),
    "gradient_spikes": (sft, {"grad_norm": np.r_[np.ones(380), [20.0, 1.0] * 10]}, 381, Level.WARNING, Act.INTERRUPT),
    "overfitting": (
        sft,
        {"loss": 2.0 - RISING, "eval_loss": np.r_[np.linspace(2, 1.2, 10), np.linspace(1.22, 1.6, 10)]},
        200,
        Level.WARNING,
        Act.INTERRUPT,
    ),
}


@pytest.mark.parametrize("rule", FAULTS)
def test_each_fault_is_found_with_its_step_and_what_to_do(rule: str) -> None:
    make, faults, step, level, act = FAULTS[rule]
    run = make(0, **faults)
    (verdict,) = verdicts(run)
    assert (verdict.rule, verdict.step, verdict.level, verdict.act) == (rule, step, level, act)
    assert verdict.sentence.endswith((".", "?")) and verdict.evidence
    (ended,) = verdicts(replace(run, running=False))
    assert ended.rule == rule and ended.act in (None, Act.SAMPLES), "what has ended cannot be stopped"


def test_longer_answers_with_a_higher_score_are_suspicious_unless_fewer_are_false() -> None:
    noise = np.random.default_rng(2)
    grown = {
        "response_length": 60 + 60 * RISING + noise.normal(0, 3, STEPS),
        "score": 1 + RISING + noise.normal(0, 0.1, STEPS),
    }
    same = np.full(20, 0.4)
    (verdict,) = verdicts(ppo(0, hallucinated=same, **grown))
    assert verdict.rule == "hacking" and verdict.act is Act.SAMPLES and "Answers grew by" in verdict.sentence
    assert rules(ppo(0, **grown)) == [], "what it says is true more often"
    flat = 1 + noise.normal(0, 0.1, STEPS)
    assert rules(ppo(0, hallucinated=same, response_length=grown["response_length"], score=flat)) == []
    assert rules(ppo(0, hallucinated=same, score=grown["score"])) == []
    few = grown["response_length"] / 20
    assert rules(ppo(0, hallucinated=same, score=grown["score"], response_length=few)) == [], "a few words"


def test_never_abstaining_is_told_only_of_a_policy_that_hallucinates() -> None:
    never = np.zeros(20)
    (verdict,) = verdicts(ppo(0, abstained=never))
    assert verdict.rule == "abstains_never" and verdict.level is Level.INFO and "hallucinates on" in verdict.sentence
    assert rules(ppo(0, abstained=never, hallucinated=np.full(20, 0.02))) == []


def test_skipped_fp16_steps_and_an_undefined_explained_variance_are_no_fault() -> None:
    infinite = late(1.0, np.inf)
    assert rules(ppo(0, explained_variance=np.full(STEPS, np.nan))) == []
    assert rules(sft(0, grad_norm=infinite, overflow=np.zeros(STEPS))) == []
    assert rules(sft(0, grad_norm=infinite)) == ["not_finite"]


def test_several_verdicts_come_the_worst_first() -> None:
    run = ppo(0, kl=late(6.0, 14.0), score=late(1.0, np.nan), entropy=late(1.8, 0.1))
    assert rules(run) == ["not_finite", "kl_over_limit", "collapse"]
    assert [verdict.level for verdict in verdicts(ppo(0, kl=late(6.0, 40.0)))] == [Level.ERROR]


def test_a_run_that_stands_still_names_the_rank_that_does() -> None:
    run = ppo()
    marks = [replace(mark, seconds=499.0 - mark.rank, phase="step", step=STEPS + 1) for mark in run.ranks]
    still = replace(run, now=STEPS + 500.0, ranks=marks)
    (verdict,) = verdicts(still)
    assert verdict.rule == "stalled" and "Rank 0 (n0) has been in step for 8m19" in verdict.sentence
    assert verdict.act is Act.LOG
    assert rules(replace(still, running=False)) == []
    assert rules(replace(still, heard=False)) == [], "of silent nodes nothing is known"
    evaluates = [replace(mark, phase="evaluate") for mark in still.ranks]
    assert rules(replace(still, ranks=evaluates)) == [], "an evaluation takes minutes"
    assert rules(replace(still, ranks=evaluates, now=STEPS + 5000.0)) == ["stalled"]
    assert rules(replace(still, ranks=run.ranks)) == [], "its ranks go on"
    assert rules(replace(still, ranks=[])) == []


def test_a_rank_that_others_wait_for_is_named() -> None:
    run = ppo()
    ranks = [RankMark(rank, f"n{rank // 8}", 401, "step", 2.0) for rank in range(16)]
    slow = [*ranks[:11], RankMark(11, "n1", 400, "generate", 48.0), *ranks[12:]]
    (verdict,) = verdicts(replace(run, ranks=slow))
    assert verdict.rule == "slow_rank" and verdict.step == 400
    assert "Rank 11 (n1) holds the others up: in generate of step 400 for 48 s" in verdict.sentence
    assert rules(replace(run, ranks=[replace(mark, seconds=48.0) for mark in ranks])) == []
    early = [replace(mark, step=400, seconds=48.0) for mark in ranks[:12]]
    assert rules(replace(run, ranks=[*early, *ranks[12:]])) == [], "most of them cannot be the slow ones"


class Asked(dict[str, Curve]):
    """Series, and which of them were asked for by name."""

    names: set[str]

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> Curve:
        self.names.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.names.add(str(name))
        return super().__contains__(name)


def test_rules_look_closely_at_no_other_series_than_they_say() -> None:
    names: set[str] = set()
    others = {"lr": curve(RISING), "held_out": curve(1 - RISING[::5], 5), "memory": curve(np.full(STEPS, 1e9))}
    grown = {"response_length": 60 + 60 * RISING, "score": 1 + RISING, "hallucinated": np.full(20, 0.4)}
    runs = [make(0, **faults) for make, faults, *_ in FAULTS.values()]
    runs += [ppo(), ppo(0, **grown), ppo(0, abstained=np.zeros(20)), sft(0, grad_norm=late(1.0, np.inf))]
    runs += [replace(runs[0], now=STEPS + 500.0), replace(sft(), series={})]
    for run in runs:
        whole = Asked({**others, **run.series})
        whole.names = names
        found = verdicts(replace(run, series=whole))
        ends = {
            name: one if name in LOOKED_AT else Curve(one.step[-RECENT:], one.time[-RECENT:], one.value[-RECENT:])
            for name, one in {**others, **run.series}.items()
        }
        assert verdicts(replace(run, series=ends)) == found
    assert names == LOOKED_AT
