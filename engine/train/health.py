"""Health rules: what a run's metrics say of its health, as they come. Pure: no clock, no files, no other rank.

A rule looks at a window of steps and finds a fault when every one of them shows it, or their mean by a wide margin. All
ranks see the same metrics and so find the same.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

from engine.spec.sections import Health

# Steps of evidence: few enough to save most of a run, too many for an unlucky batch.
WINDOW = 10
# Steps that show what is normal for a run.
START = 10
# Looks without evidence after which a rule has recovered. One step on the right side of a bound already takes the
# evidence from the next 10 looks, so it is twice that: a value about its bound is not told again and again.
RECOVERY = 20
# Skipped fp16 steps in a row. A loss scale that starts too high costs a few; this many have cut it to 1 / 2048.
OVERFLOWS = 12
# Steps of a negative divergence: it takes more of them to tell a small one from noise.
KL_WINDOW = 20
# Nats per sequence below 0. Rounding and chance leave less, another temperature in sampling than in scoring more.
KL_MARGIN = 0.05
# Standard errors below 0 of the mean of 20 steps: by chance in about 1 of 200,000 windows.
KL_ERRORS = 6.0
# Share of the entropy at the start. Half of it is what training costs; a tenth leaves nothing to explore with.
ENTROPY_FRACTION = 0.1
# Mean tokens of the answers from which a low entropy is a fault. To be sure of a few words is what small tasks ask for.
ENTROPY_TOKENS = 16
# Share of the length at the start: an abstention instead of a sentence. Answers of 10 tokens only get there when empty.
LENGTH_FRACTION = 0.2
# Share of repeated 4-grams: far over that of prose, and of lists.
REPETITION = 0.3
# What repetition has risen by since the start: a policy that always repeated itself did not learn it here.
REPETITION_RISE = 0.15
# Share of answers that end by themselves. Below it nearly all of the reward is that of truncation.
EOS_RATE = 0.2
# Steps in which a critic may be wrong, for its head starts at 0.
CRITIC_START = 20
# Mean explained variance. A critic that knows nothing is about 0.
CRITIC_MEAN = -0.1
# Evaluations before a trend can be told from noise; how many are averaged for its ends; how many are remembered.
EVALUATIONS = 8
END = 3
REMEMBERED = 100
# Standard deviations of an evaluation: the fall of the held-out score from its best, and the rise of the score since.
FALL = 6.0
RISE = 2.0
# The fall as a share of all that the held-out score has spanned; less is not worth a word.
FALL_SHARE = 0.1

# Larger values are remembered as this, so that no sum overflows.
_LARGEST = 1e100
# It has no finite value where the returns have no variance, and that is no fault.
_MAY_BE_NOT_FINITE = "explained_variance"

_Evidence = tuple[str, int]  # in words, and its first step


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found."""

    rule: str  # a key of `Health`
    action: Literal["warn", "pause", "rollback", "fail"]
    message: str  # the evidence, and what to do
    since: int  # first step of the evidence; a rollback goes to a checkpoint from before it


class HealthRules:
    """The rules of one run.

    Each finding is told once, and again only after its rule has recovered: after `RECOVERY` looks without evidence. So
    a run that paused and is resumed goes on. Only `not_finite` is told whenever it is seen: nothing learns from there.

    Arguments:
        health: what a finding does.
        kl_target: the divergence that the run aims at, nats per sequence; three times that is the limit if none is set.
    """

    def __init__(self, health: Health, *, kl_target: float | None) -> None:
        self._health = health
        self._memory = _Memory()
        limit = health.kl_limit or (3.0 * kl_target if kl_target is not None else None)
        # Rule, the metric whose coming makes it look, and what it looks for.
        self._rules: list[tuple[str, str, Callable[[_Memory], _Evidence | None]]] = [
            ("negative_kl", "kl", _negative_kl),
            ("collapse", "entropy", _low_entropy),
            ("collapse", "response_length", _short_answers),
            ("repetition", "repetition_rate", _repetition),
            ("no_eos", "eos_rate", _no_eos),
            ("critic", "explained_variance", _critic),
            ("overoptimisation", "eval_score", _overoptimisation),
        ]
        if limit is not None:
            self._rules.append(("kl_over_limit", "kl", partial(_over_limit, limit=limit)))

    def observe(self, step: int, metrics: Mapping[str, float]) -> list[Finding]:
        """Return what is found with what was measured at a step.

        A step's metrics and those of an evaluation after it come one after the other. A rule whose metric is missing
        does not look.
        """
        findings = []
        if broken := self._memory.not_finite(step, metrics):
            findings.append(Finding("not_finite", self._health.not_finite, *broken))
        self._memory.note(step, metrics)
        for rule, metric, look in self._rules:
            action = getattr(self._health, rule)
            if action != "off" and metric in metrics:
                evidence = look(self._memory)
                if self._memory.is_news(f"{rule}/{metric}", evidence is not None) and evidence is not None:
                    findings.append(Finding(rule, action, *evidence))
        return findings

    def forget(self, step: int) -> None:
        """Drop the evidence up to `step`: a rollback has replaced its networks. What is normal for the run stays."""
        self._memory.forget(step)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: plain values, which JSON restores to the bit."""
        return self._memory.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; an empty state is that of the beginning."""
        self._memory = _Memory.of(state)


@dataclass(frozen=True, slots=True)
class _Window:
    """The values of a metric at its last steps."""

    steps: Sequence[int]
    values: Sequence[float]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def since(self) -> int:
        return self.steps[0]

    @property
    def text(self) -> str:
        return f"at steps {self.steps[0]}–{self.steps[-1]}"


# The metrics that rules look at over a window, and the steps that are kept of each.
_WINDOWS = {
    "kl": KL_WINDOW,
    "entropy": WINDOW,
    "response_length": WINDOW,
    "repetition_rate": WINDOW,
    "eos_rate": WINDOW,
    "explained_variance": WINDOW,
}


class _Memory:
    """What the rules remember of a run. Only finite values get in."""

    def __init__(self) -> None:
        self.recent = {name: deque[tuple[int, float]](maxlen=size) for name, size in _WINDOWS.items()}
        self.seen = dict.fromkeys(_WINDOWS, 0)  # values so far
        self.starts = dict.fromkeys(_WINDOWS, 0.0)  # sums of the first `START` values
        self.evaluations = deque[tuple[int, float, float]](maxlen=REMEMBERED)  # step, held-out score, mean score before
        self.scores = (0, 0.0)  # count and sum of the scores since the last evaluation
        self.overflows: list[int] = []  # steps in a row
        self.told: dict[str, int] = {}  # looks without evidence since, by what was told

    def note(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in what was measured at a step."""
        finite = {
            name: min(max(float(value), -_LARGEST), _LARGEST) for name, value in metrics.items() if math.isfinite(value)
        }
        for name, recent in self.recent.items():
            if name in finite:
                recent.append((step, finite[name]))
                self.seen[name] += 1
                self.starts[name] += finite[name] if self.seen[name] <= START else 0.0
        count, total = self.scores
        if "score" in finite:
            count, total = count + 1, total + finite["score"]
        if "eval_score" in finite and count:
            self.evaluations.append((step, finite["eval_score"], total / count))
            count, total = 0, 0.0
        self.scores = count, total

    def not_finite(self, step: int, metrics: Mapping[str, float]) -> _Evidence | None:
        """Return evidence of NaN and infinity, or of too many skipped steps."""
        # A share of them where a step of the run is several of the optimiser.
        overflow = metrics.get("overflow", 0.0)
        if "overflow" in metrics:
            self.overflows = [*self.overflows, step] if overflow >= 1.0 else []
        broken = [
            f"{name} became {value}"
            for name, value in sorted(metrics.items())
            # Where fp16 overflowed, the step was skipped, and its gradient has no norm.
            if not math.isfinite(value) and name != _MAY_BE_NOT_FINITE and not (overflow > 0.0 and "grad_norm" in name)
        ]
        advice = "Lower train.lr, lengthen the warm-up, or look for broken rows in the data."
        if broken:
            return f"{', '.join(broken)} at step {step}. {advice}", step
        if len(self.overflows) >= OVERFLOWS:
            first, self.overflows = self.overflows[0], []
            return f"fp16 overflowed at each of steps {first}–{step}, which were skipped. {advice} Or take bf16.", first
        return None

    def is_news(self, what: str, is_found: bool) -> bool:
        """Whether to tell of a finding: it was not there before, or its rule has recovered since."""
        if is_found:
            is_new = what not in self.told
            self.told[what] = 0
            return is_new
        if what in self.told:
            self.told[what] += 1
            if self.told[what] >= RECOVERY:
                del self.told[what]
        return False

    def window(self, name: str, size: int = WINDOW) -> _Window | None:
        """Return a metric's values at its last `size` steps, or None before there are as many."""
        last = list(self.recent[name])[-size:]
        return _Window([step for step, _ in last], [value for _, value in last]) if len(last) == size else None

    def start(self, name: str) -> float:
        """Return the mean of a metric's first `START` values."""
        return self.starts[name] / max(1, min(self.seen[name], START))

    def forget(self, step: int) -> None:
        """Drop all up to a step but what is normal for the run."""
        self.recent = {
            name: deque([point for point in recent if point[0] > step], recent.maxlen)
            for name, recent in self.recent.items()
        }
        self.evaluations = deque([one for one in self.evaluations if one[0] > step], REMEMBERED)
        self.overflows = [one for one in self.overflows if one > step]
        self.scores, self.told = (0, 0.0), {}

    def state(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "recent": {name: [list(point) for point in recent] for name, recent in self.recent.items()},
            "seen": dict(self.seen),
            "starts": dict(self.starts),
            "evaluations": [list(one) for one in self.evaluations],
            "scores": list(self.scores),
            "overflows": list(self.overflows),
            "told": dict(self.told),
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Return what `state` gave back; an empty one is new."""
        memory = cls()
        if state:
            for name, recent in memory.recent.items():
                recent.extend((step, value) for step, value in state["recent"][name])
            memory.seen, memory.starts = dict(state["seen"]), dict(state["starts"])
            memory.evaluations.extend((step, held_out, score) for step, held_out, score in state["evaluations"])
            count, total = state["scores"]
            memory.scores = count, total
            memory.overflows, memory.told = list(state["overflows"]), dict(state["told"])
        return memory


def _negative_kl(memory: _Memory) -> _Evidence | None:
    """A divergence is at least 0, so that the mean of its estimates is, but for chance."""
    window = memory.window("kl", KL_WINDOW)
    if window is None:
        return None
    error = statistics.stdev(window.values) / math.sqrt(KL_WINDOW)
    if window.mean >= -max(KL_MARGIN, KL_ERRORS * error):
        return None
    return (
        f"KL is {window.mean:.3g} nats per sequence on average {window.text}, and it cannot be below 0: the answers "
        "were not sampled from the policy that scores them. Look at logprob_gap, set every dropout to 0, or take "
        "another train.precision."
    ), window.since


def _over_limit(memory: _Memory, limit: float) -> _Evidence | None:
    window = memory.window("kl")
    if window is None or min(window.values) <= limit:
        return None
    return (
        f"KL is {window.mean:.3g} nats per sequence on average {window.text} and stays above the limit of {limit:g}. "
        "Raise ppo.kl_coef or lower train.lr."
    ), window.since


def _low_entropy(memory: _Memory) -> _Evidence | None:
    window, lengths, start = memory.window("entropy"), memory.window("response_length"), memory.start("entropy")
    if window is None or max(window.values) >= ENTROPY_FRACTION * start:
        return None
    if lengths is not None and lengths.mean < ENTROPY_TOKENS:
        return None
    return (
        f"entropy is {window.mean:.3g} nats per token on average {window.text}, down from {start:.3g} at the start: "
        "the policy no longer explores. Raise ppo.kl_coef or ppo.entropy_coef, or lower train.lr."
    ), window.since


def _short_answers(memory: _Memory) -> _Evidence | None:
    window, start = memory.window("response_length"), memory.start("response_length")
    if window is None or max(window.values) >= LENGTH_FRACTION * start:
        return None
    return (
        f"answers have {window.mean:.3g} tokens on average {window.text}, down from {start:.3g} at the start. "
        "Look at the samples: if they all abstain or say nothing, give that less in rewards, or raise ppo.kl_coef."
    ), window.since


def _repetition(memory: _Memory) -> _Evidence | None:
    window, start = memory.window("repetition_rate"), memory.start("repetition_rate")
    if window is None or window.mean <= max(REPETITION, start + REPETITION_RISE):
        return None
    return (
        f"{window.mean:.0%} of the 4-grams in the answers are repeated {window.text}, up from {start:.0%} at the "
        "start. Raise ppo.kl_coef or lower train.lr, and look at which of rewards likes it."
    ), window.since


def _no_eos(memory: _Memory) -> _Evidence | None:
    window = memory.window("eos_rate")
    if window is None or max(window.values) >= EOS_RATE:
        return None
    return (
        f"{window.mean:.0%} of the answers end by themselves {window.text}. Raise data.max_response_length if good "
        "answers are longer, else ppo.truncation_penalty; or start from a policy that was trained to end."
    ), window.since


def _critic(memory: _Memory) -> _Evidence | None:
    window = memory.window("explained_variance")
    if window is None or memory.seen["explained_variance"] < CRITIC_START + WINDOW:
        return None
    if max(window.values) >= 0.0 or window.mean >= CRITIC_MEAN:
        return None
    return (
        f"explained variance is {window.mean:.3g} on average {window.text} and stays below 0: the critic is worse than "
        "none. Lower critic.lr, raise critic.warmup_steps, or take ppo.estimator rloo."
    ), window.since


def _overoptimisation(memory: _Memory) -> _Evidence | None:
    """The held-out score has fallen from its best while the score rose, both by more than they move by chance."""
    if len(memory.evaluations) < EVALUATIONS:
        return None
    steps, held_out, scores = zip(*memory.evaluations, strict=True)
    now = len(steps) - END
    # The best evaluations share none with the last.
    best = max(range(now - END + 1), key=lambda first: math.fsum(held_out[first : first + END]))
    fall = _mean(held_out, best) - _mean(held_out, now)
    rise = _mean(scores, now) - _mean(scores, best)
    if fall <= max(FALL * _noise(held_out[best:]), FALL_SHARE * (max(held_out) - min(held_out))):
        return None
    if rise <= RISE * _noise(scores[best:]):
        return None
    return (
        f"the held-out score fell from {_mean(held_out, best):.3g} at steps {steps[best]}–{steps[best + END - 1]} to "
        f"{_mean(held_out, now):.3g} at steps {steps[now]}–{steps[-1]}, while the score rose from "
        f"{_mean(scores, best):.3g} to {_mean(scores, now):.3g}: the policy learns what the reward likes and people do "
        "not. Take an earlier checkpoint, raise ppo.kl_coef, or add prompts."
    ), steps[best + END - 1] + 1


def _mean(values: Sequence[float], first: int) -> float:
    return statistics.fmean(values[first : first + END])


def _noise(values: Sequence[float]) -> float:
    """Return the standard deviation of values about their trend, from the mean distance of neighbours, 2σ/√π.

    A steady trend adds its slope to the distances, so a finding needs a few evaluations more.
    """
    return statistics.fmean(abs(a - b) for a, b in itertools.pairwise(values)) * math.sqrt(math.pi) / 2.0
