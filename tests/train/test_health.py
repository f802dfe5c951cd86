"""Health rules on synthetic runs: each fault is found in time, and a healthy run is left alone."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.spec.sections import Health
from engine.train.health import OVERFLOWS, RECOVERY, WINDOW, Finding, HealthRules

Run = list[tuple[int, dict[str, float]]]
EVAL_EVERY = 5


def health(action: str = "warn", **settings: object) -> Health:
    rules = ("negative_kl", "kl_over_limit", "collapse", "repetition", "no_eos", "critic", "overoptimisation")
    return Health.model_validate(dict.fromkeys(rules, action) | {"kl_limit": 18.0} | settings)


def healthy_run(seed: int, steps: int = 200, *, short: bool = False) -> Run:
    """A run that learns: everything moves and is noisy. `short`: answers of a few words, of which it becomes sure."""
    draw = random.Random(seed)
    run: Run = []
    held_out, tokens = 0.1, 3.0 if short else 60.0
    for step in range(1, steps + 1):
        learned = 1.0 - math.exp(-step / 40)
        kl = 5.0 * learned
        metrics = {
            "loss": draw.gauss(0.0, 1.0),
            "grad_norm": draw.lognormvariate(0.0, 1.0),
            "kl": draw.gauss(kl, math.sqrt(2.0 * (kl + 1e-3) / 8)),
            "entropy": (0.5 - 0.499 * learned if short else 1.0 - 0.6 * learned) * draw.lognormvariate(0.0, 0.1),
            "response_length": max(1.0, draw.gauss(tokens - (1.0 if short else 30.0) * learned, 0.05 * tokens)),
            "repetition_rate": draw.uniform(0.0, 0.2),
            "eos_rate": min(1.0, draw.gauss(0.7, 0.15)),
            "explained_variance": draw.gauss(0.8 * learned, 0.1) if step > 15 else draw.gauss(-2.0, 1.0),
            "score": draw.gauss(2.0 * learned, 0.3),
        }
        run.append((step, metrics))
        if step % EVAL_EVERY == 0:
            held_out += 0.1 * (0.8 * learned - held_out)
            run.append((step, {"eval_score": held_out + draw.gauss(0.0, 0.03)}))
    return run


def observed(rules: HealthRules, run: Run) -> list[tuple[int, Finding]]:
    return [(step, finding) for step, metrics in run for finding in rules.observe(step, metrics)]


Fault = Callable[[int, Mapping[str, float], random.Random], dict[str, float]]
SINCE = 60
FAULTS: dict[str, tuple[str, Fault, int]] = {
    "nan": ("not_finite", lambda step, metrics, draw: {"loss": math.nan}, 1),
    "infinity": ("not_finite", lambda step, metrics, draw: {"kl": -math.inf}, 1),
    "overflow": ("not_finite", lambda step, metrics, draw: {"overflow": 1.0, "grad_norm": math.inf}, OVERFLOWS),
    "kl below 0": ("negative_kl", lambda step, metrics, draw: {"kl": draw.gauss(-0.3, 0.1)}, 25),
    "kl over its limit": ("kl_over_limit", lambda step, metrics, draw: {"kl": draw.gauss(25.0, 1.0)}, WINDOW),
    "entropy": ("collapse", lambda step, metrics, draw: {"entropy": draw.uniform(0.0, 0.05)}, WINDOW),
    "length": ("collapse", lambda step, metrics, draw: {"response_length": draw.uniform(1.0, 3.0)}, WINDOW),
    "repetition": ("repetition", lambda step, metrics, draw: {"repetition_rate": draw.uniform(0.5, 0.9)}, WINDOW),
    "no end": ("no_eos", lambda step, metrics, draw: {"eos_rate": draw.uniform(0.0, 0.15)}, WINDOW),
    "critic": ("critic", lambda step, metrics, draw: {"explained_variance": draw.uniform(-1.0, -0.1)}, WINDOW),
    "held-out score": (
        "overoptimisation",
        lambda step, metrics, draw: {
            "score": 2.0 + (step - SINCE) / 20 + draw.gauss(0.0, 0.3),
            "eval_score": 0.7 - (step - SINCE) / 100 + draw.gauss(0.0, 0.03),
        },
        16 * EVAL_EVERY,
    ),
}


def faulty_run(fault: Fault, seed: int, steps: int = 200) -> Run:
    draw = random.Random(-seed - 1)
    run = []
    for step, metrics in healthy_run(seed, steps):
        faults = fault(step, metrics, draw) if step >= SINCE else {}
        known = {name: value for name, value in faults.items() if name in metrics or name == "overflow"}
        run.append((step, metrics | known))
    return run


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_in_time_and_nothing_else_is(name: str) -> None:
    rule, fault, within = FAULTS[name]
    for seed in range(20):
        found = observed(HealthRules(health(), kl_target=None), faulty_run(fault, seed))
        assert {finding.rule for _, finding in found} == {rule}
        step, finding = found[0]
        assert SINCE + within - 1 >= step >= SINCE
        assert SINCE - 2 * EVAL_EVERY <= finding.since <= step
        if rule != "not_finite":
            assert len(found) == 1, "a fault that stays is told once"


@pytest.mark.parametrize("short", [False, True])
def test_a_healthy_run_is_left_alone(short: bool) -> None:
    for seed in range(60):
        found = observed(HealthRules(health(), kl_target=None), healthy_run(seed, short=short))
        assert found == []


def test_a_held_out_score_that_only_varies_while_the_score_rises_is_left_alone() -> None:
    for seed in range(100):
        draw = random.Random(seed)
        run = [
            (step, {"score": step / 20 + draw.gauss(0.0, 0.1), "eval_score": draw.gauss(0.5, 0.05)})
            for step in range(1, 41)
        ]
        assert observed(HealthRules(health(), kl_target=None), run) == []


def test_the_estimates_of_near_equal_policies_are_no_negative_kl() -> None:
    """Sampled exactly as scored, from a reference and a policy near it, at several distances and batch sizes."""
    source = torch.Generator().manual_seed(0)
    for episodes in (1, 8, 32):
        for distance in (0.0, 0.01, 0.05, 0.2):
            reference = torch.randn(8, 24, generator=source)  # by position and token
            policy = reference + distance * torch.randn(8, 24, generator=source)
            gain = policy.log_softmax(-1) - reference.log_softmax(-1)
            steps = 1500
            draws = torch.multinomial(policy.softmax(-1), steps * episodes, replacement=True, generator=source)
            kl = gain.gather(1, draws).sum(0).reshape(steps, episodes).mean(1)
            run = [(step, {"kl": value}) for step, value in enumerate(kl.tolist(), 1)]
            assert observed(HealthRules(health(), kl_target=None), run) == []


def test_answers_scored_at_another_temperature_are_a_negative_kl() -> None:
    source = torch.Generator().manual_seed(0)
    reference = 2.0 * torch.randn(8, 24, generator=source)
    policy = reference - 0.3 * (reference > 2.0)  # a policy that has learned to doubt what is likeliest
    gain = policy.log_softmax(-1) - reference.log_softmax(-1)
    draws = torch.multinomial((policy / 0.5).softmax(-1), 30 * 16, replacement=True, generator=source)
    kl = gain.gather(1, draws).sum(0).reshape(30, 16).mean(1)
    run = [(step, {"kl": value}) for step, value in enumerate(kl.tolist(), 1)]
    ((step, finding),) = observed(HealthRules(health("rollback"), kl_target=None), run)
    assert (step, finding.rule, finding.action, finding.since) == (20, "negative_kl", "rollback", 1)


def constant(steps: range, **metrics: float) -> Run:
    return [(step, dict(metrics)) for step in steps]


def test_a_message_has_the_evidence_and_what_to_do() -> None:
    ((_, finding),) = observed(HealthRules(health("pause"), kl_target=None), constant(range(40, 50), kl=23.1))
    assert finding == Finding(
        "kl_over_limit",
        "pause",
        "KL is 23.1 nats per sequence on average at steps 40–49 and stays above the limit of 18. "
        "Raise ppo.kl_coef or lower train.lr.",
        40,
    )


def test_the_limit_is_that_of_the_spec_else_three_targets_else_none() -> None:
    run = constant(range(1, 30), kl=19.0)
    assert observed(HealthRules(health(kl_limit=None), kl_target=6.0), run)
    assert not observed(HealthRules(health(kl_limit=None), kl_target=7.0), run)
    assert not observed(HealthRules(health(kl_limit=20.0), kl_target=1.0), run)
    assert not observed(HealthRules(health(kl_limit=None), kl_target=None), run)


def test_a_finding_is_told_again_after_its_rule_has_recovered() -> None:
    rules = HealthRules(health(), kl_target=None)
    assert [step for step, _ in observed(rules, constant(range(1, 31), kl=20.0))] == [10]
    too_early = RECOVERY - WINDOW  # the steps until the window is full again count as well
    assert not observed(rules, constant(range(31, 31 + too_early), kl=1.0))
    assert not observed(rules, constant(range(51, 71), kl=20.0))
    assert not observed(rules, constant(range(71, 71 + RECOVERY), kl=1.0))
    assert [step for step, _ in observed(rules, constant(range(101, 121), kl=20.0))] == [110]


def test_a_value_about_its_bound_is_not_told_step_by_step() -> None:
    run = [(step, {"kl": 17.0 if step % 15 == 0 else 20.0}) for step in range(1, 200)]
    assert len(observed(HealthRules(health(), kl_target=None), run)) == 1


def test_a_rule_that_is_off_finds_nothing() -> None:
    for rule, fault, _ in FAULTS.values():
        if rule != "not_finite":
            assert not observed(HealthRules(health("off"), kl_target=None), faulty_run(fault, 0))


def test_what_is_not_finite_is_named_each_time_but_where_it_may_be() -> None:
    rules = HealthRules(health(not_finite="rollback"), kl_target=None)
    assert rules.observe(1, {"explained_variance": -math.inf, "loss": 1.0}) == []
    assert rules.observe(2, {"overflow": 1.0, "policy_grad_norm": math.nan}) == []
    for step in (3, 4):
        (finding,) = rules.observe(step, {"loss": math.nan, "reward/truth": math.inf, "kl": 1.0})
        assert (finding.rule, finding.action, finding.since) == ("not_finite", "rollback", step)
        assert finding.message.startswith(f"loss became nan, reward/truth became inf at step {step}.")


def test_a_rollback_takes_the_evidence_away_but_not_what_is_normal() -> None:
    rules = HealthRules(health("rollback"), kl_target=None)
    observed(rules, constant(range(1, 11), repetition_rate=0.05, kl=1.0, response_length=50.0))
    worse = {"repetition_rate": 0.6, "kl": 30.0, "response_length": 2.0}
    found = observed(rules, constant(range(11, 21), **worse))
    assert {finding.rule for _, finding in found} == {"repetition", "kl_over_limit", "collapse"}
    rules.forget(20)
    assert not observed(rules, constant(range(21, 30), **worse))
    found = observed(rules, constant(range(30, 31), **worse))
    assert {finding.rule for _, finding in found} == {"repetition", "kl_over_limit", "collapse"}
    assert {finding.since for _, finding in found} == {21}


def test_the_normal_length_of_short_answers_and_certainty_of_few_words_are_no_collapse() -> None:
    run = constant(range(1, 11), entropy=0.7, response_length=4.0) + constant(
        range(11, 60), entropy=0.001, response_length=2.0
    )
    assert not observed(HealthRules(health(), kl_target=None), run)
    longer = [(step, metrics | {"response_length": 20.0}) for step, metrics in run]
    assert observed(HealthRules(health(), kl_target=None), longer)


@pytest.mark.parametrize("name", FAULTS)
def test_a_resumed_run_finds_what_an_uninterrupted_one_finds(name: str) -> None:
    run = faulty_run(FAULTS[name][1], seed=3, steps=160)
    whole = HealthRules(health(), kl_target=None)
    resumed = HealthRules(health(), kl_target=None)
    for step, metrics in run:
        # Killed and resumed at every step.
        state = json.loads(json.dumps(resumed.state(), allow_nan=False))
        resumed = HealthRules(health(), kl_target=None)
        resumed.restore(state)
        assert resumed.observe(step, metrics) == whole.observe(step, metrics)
    assert resumed.state() == whole.state()


def test_an_empty_state_is_the_beginning() -> None:
    rules = HealthRules(health(), kl_target=None)
    observed(rules, healthy_run(0, 20))
    rules.restore({})
    assert rules.state() == HealthRules(health(), kl_target=None).state()


WINDOWS = ["kl", "entropy", "response_length", "repetition_rate", "eos_rate", "explained_variance"]
names = st.sampled_from([*WINDOWS, "score", "eval_score", "overflow", "loss", "reward/x"])
anything = st.dictionaries(names, st.floats() | st.integers(-3, 3))


@given(st.lists(anything, max_size=60), st.randoms(use_true_random=False))
def test_whatever_comes_in_whatever_order_is_borne(run: list[dict[str, float]], draw: random.Random) -> None:
    rules, other = (HealthRules(health(), kl_target=None) for _ in range(2))
    for step, metrics in enumerate(run, 1):
        shuffled = list(metrics.items())
        draw.shuffle(shuffled)
        found = rules.observe(step, metrics)
        assert found == other.observe(step, dict(shuffled))
        broken = any(not math.isfinite(value) for name, value in metrics.items() if name != "explained_variance")
        assert broken == any("became" in finding.message for finding in found)
        assert all(0 < finding.since <= step and finding.message.endswith(".") for finding in found)
    json.dumps(rules.state(), allow_nan=False)
