"""The rules of health that look at curves. Each needs several points of evidence: one unlucky batch is no verdict."""

from __future__ import annotations

import numpy as np

from engine.telemetry.health_observed import Act, Observed, Points, Rule, Verdict
from engine.telemetry.numbers import short
from engine.telemetry.records import Level
from engine.telemetry.smoothing import Floats

WINDOW = 10  # points that must all show it
START = 10  # points that show what is normal for a run
KL_TIMES = 2.0  # the target: an adaptive coefficient lets the divergence swing about it, not so far
KL_RUNAWAY_TIMES = 4.0
COLLAPSE = 0.1  # share of the entropy at the start
FEW_TOKENS = 16  # answers of fewer are as short as their task, and one may be sure of few words
AVERAGED = 20  # points of each end of a trend
LOOK_BACK = (150, 300)  # points: what began lately must not hide behind what was better long ago
GROWN = 1.3  # times the length
TOGETHER = 0.8  # correlation of length and score
ERRORS = 4.0  # standard errors that a rise must have
MENDED = 0.02  # fewer hallucinations by so much excuse longer answers
SPIKE = 8.0  # times the usual gradient norm
SPIKES = 3  # of the last SPIKE_WINDOW points
SPIKE_WINDOW = 50
USUAL = 200  # points
RISE = 0.02  # share of the lowest evaluation loss
DIVERGED = 0.3  # share of the lowest loss that it must have risen by
ALWAYS = 0.95  # share of questions
NEVER = 0.005
HALLUCINATES = 0.2  # share of questions
_MAY_BE_NOT_FINITE = ("explained_variance",)  # it has no value where the returns have no variance


def not_finite(run: Observed) -> Verdict | None:
    """NaN or infinity, since when."""
    since: dict[str, int] = {}
    for name, points in run.series.items():
        skipped = "grad_norm" in name and "overflow" in run.series  # fp16 skips such steps
        if points.value.size and not np.isfinite(points.value[-1]) and name not in _MAY_BE_NOT_FINITE and not skipped:
            finite = np.flatnonzero(np.isfinite(points.value))
            since[name] = int(points.step[finite[-1] + 1] if finite.size else points.step[0])
    if not since:
        return None
    first = min(since.values())
    names = sorted(since, key=lambda name: (since[name], name))
    shown = f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
    are = "is no finite number" if len(names) == 1 else "are no finite numbers"
    evidence = ", ".join(f"{name} is {run.series[name].value[-1]} since step {since[name]}" for name in names[:3])
    act = Act.KILL if run.running else None
    return Verdict("not_finite", Level.ERROR, f"{shown} {are} since step {first}.", first, evidence, act)


def kl_runaway(run: Observed) -> Verdict | None:
    """The divergence stays far above its target."""
    points, target = run.series.get("kl"), run.kl_target
    if points is None or target is None or points.value.size < WINDOW:
        return None
    window = points.value[-WINDOW:]
    if not np.isfinite(window).all() or window.min() <= KL_TIMES * target:
        return None
    mean = float(window.mean())
    since = _since(points, points.value > KL_TIMES * target)
    level = Level.ERROR if mean > KL_RUNAWAY_TIMES * target else Level.WARNING
    sentence = (
        f"KL is {short(mean)} nats per sequence, {short(mean / target, 2)} times its target, "
        f"and above twice the target since step {since}."
    )
    evidence = f"mean of {_steps(points, WINDOW)}: {short(mean)}; target {short(target)}"
    return Verdict("kl_over_limit", level, sentence, since, evidence, _stop(run))


def hacking(run: Observed) -> Verdict | None:
    """Answers and score grow together, and hallucinations do not fall: longer may be all that the reward likes."""
    score, length = run.series.get("score"), run.series.get("response_length")
    if score is None or length is None or score.step.size != length.step.size:
        return None
    found = (_grown(run, score, length, back) for back in LOOK_BACK)
    return next((verdict for verdict in found if verdict is not None), None)


def _grown(run: Observed, score: Points, length: Points, back: int) -> Verdict | None:
    """Return the verdict of `hacking` on the last points. back: how many."""
    scores, lengths = score.value[-back:], length.value[-back:]
    if scores.size < 3 * AVERAGED or not (np.isfinite(scores).all() and np.isfinite(lengths).all()):
        return None
    means, sizes = _rolling(scores), _rolling(lengths)
    then = int(sizes[:-AVERAGED].argmin())
    rise, growth = float(means[-1] - means[then]), float(sizes[-1] / max(sizes[then], 1e-9))
    error = _noise(scores) * np.sqrt(2 / AVERAGED)
    step = int(score.step[-back:][then + AVERAGED // 2])
    if sizes[-1] < FEW_TOKENS or growth < GROWN or rise <= ERRORS * error:
        return None
    if _correlation(means, sizes, then) < TOGETHER or _fell(run, "hallucinated", since=step):
        return None
    sentence = (
        f"Answers grew by {growth - 1:.0%} while the score rose from {short(float(means[then]))} to "
        f"{short(float(means[-1]))} since step {step}: is it the length that the reward likes?"
    )
    evidence = (
        f"mean of {AVERAGED} steps: {short(float(sizes[then]))} tokens at step {step}, {short(float(sizes[-1]))} now"
    )
    return Verdict("hacking", Level.WARNING, sentence, step, evidence, Act.SAMPLES)


def entropy_collapse(run: Observed) -> Verdict | None:
    """The policy is sure of every word."""
    points, lengths = run.series.get("entropy"), run.series.get("response_length")
    if points is None or points.value.size < START + WINDOW:
        return None
    start, window = float(np.nanmean(points.value[:START])), points.value[-WINDOW:]
    if not np.isfinite(window).all() or not window.max() < COLLAPSE * start:
        return None
    if lengths is not None and lengths.value.size and np.nanmean(lengths.value[-WINDOW:]) < FEW_TOKENS:
        return None
    since = _since(points, points.value < COLLAPSE * start)
    mean = short(float(window.mean()))
    sentence = f"Entropy fell from {short(start)} to {mean} nats per token, since step {since}: it no longer explores."
    evidence = f"mean of the first {START} steps {short(start)}, of {_steps(points, WINDOW)} {mean}"
    return Verdict("collapse", Level.WARNING, sentence, since, evidence, _stop(run))


def overfitting(run: Observed) -> Verdict | None:
    """The evaluation loss rises from its best while the training loss goes on falling."""
    held_out, loss = run.series.get("eval_loss"), run.series.get("loss")
    if held_out is None or loss is None or held_out.value.size < 3 or not np.isfinite(held_out.value).all():
        return None
    best = int(held_out.value.argmin())
    least, later = float(held_out.value[best]), held_out.value[best + 1 :]
    margin = RISE * abs(least)
    if later.size < 2 or later[-2:].min() <= least + margin or later[-1] < later[-2] - margin:
        return None
    step, now = int(held_out.step[best]), float(later[-1])
    place = max(AVERAGED, int(np.searchsorted(loss.step, step, side="right")))
    before, after = float(np.nanmean(loss.value[place - AVERAGED : place])), float(np.nanmean(loss.value[-AVERAGED:]))
    if not after < before:
        return None
    sentence = (
        f"eval_loss rose from its best, {short(least)} at step {step}, to {short(now)} while loss fell from "
        f"{short(before)} to {short(after)}: it learns the rows by heart."
    )
    evidence = f"eval_loss {', '.join(short(float(value)) for value in held_out.value[best:][:4])} from step {step} on"
    return Verdict("overfitting", Level.WARNING, sentence, step, evidence, _stop(run))


def diverged(run: Observed) -> Verdict | None:
    """The training loss has left its lowest level for good."""
    points = run.series.get("loss")
    if points is None or points.value.size < 3 * AVERAGED or not np.isfinite(points.value[-2 * AVERAGED :]).all():
        return None
    values = points.value[np.isfinite(points.value)]
    means = _rolling(values)
    best = int(means[:-AVERAGED].argmin())
    least, now = float(means[best]), float(means[-1])
    margin = max(DIVERGED * abs(least), ERRORS * _noise(values[: best + AVERAGED]))
    if values[-WINDOW:].min() <= least + margin:
        return None
    since = _since(points, points.value > least + margin)
    sentence = f"Loss rose from {short(least)} to {short(now)} and stays there since step {since}: it diverges."
    evidence = f"lowest mean of {AVERAGED} steps {short(least)}, of {_steps(points, AVERAGED)} {short(now)}"
    return Verdict("diverged", Level.ERROR, sentence, since, evidence, _stop(run))


def gradient_spikes(run: Observed) -> Verdict | None:
    """The gradient is again and again many times what it usually is."""
    points = run.series.get("grad_norm")
    if points is None or points.value.size < 2 * SPIKE_WINDOW:
        return None
    recent, before = points.value[-SPIKE_WINDOW:], points.value[-SPIKE_WINDOW - USUAL : -SPIKE_WINDOW]
    usual = float(np.nanmedian(np.where(np.isfinite(before), before, np.nan))) if np.isfinite(before).any() else 0.0
    spikes = np.flatnonzero(np.isfinite(recent) & (recent > SPIKE * usual))
    if usual <= 0 or spikes.size < SPIKES:
        return None
    step, most = int(points.step[-SPIKE_WINDOW:][spikes[0]]), float(recent[spikes].max())
    sentence = (
        f"The gradient norm was over {SPIKE:g} times its usual {short(usual)} at {spikes.size} of the last "
        f"{SPIKE_WINDOW} steps, {short(most)} at most."
    )
    evidence = f"median of the steps before {short(usual)}; first at step {step}"
    return Verdict("gradient_spikes", Level.WARNING, sentence, step, evidence, _stop(run))


def abstains_always(run: Observed) -> Verdict | None:
    """PPO has found that saying nothing is never wrong."""
    points = run.series.get("abstained") if run.kind == "ppo" else None
    if points is None or points.value.size < 3 or not points.value[-3:].min() >= ALWAYS:
        return None
    since, now = _since(points, points.value >= ALWAYS), float(points.value[-1])
    sentence = f"It abstains on {now:.0%} of the held-out questions since step {since}: silence pays too well."
    evidence = f"abstained {', '.join(f'{value:.0%}' for value in points.value[-3:])} at the last evaluations"
    return Verdict("abstains_always", Level.WARNING, sentence, since, evidence, Act.SAMPLES)


def abstains_never(run: Observed) -> Verdict | None:
    """PPO has not learned to say that it does not know, and hallucinates instead."""
    points, wrong = run.series.get("abstained"), run.series.get("hallucinated")
    if run.kind != "ppo" or points is None or wrong is None or points.value.size < 5 or not wrong.value.size:
        return None
    share = float(wrong.value[-1])
    if not points.value.max() <= NEVER or not share >= HALLUCINATES:
        return None
    count = points.value.size
    sentence = f"It has never abstained in {count} evaluations, and hallucinates on {share:.0%} of the questions."
    evidence = f"abstained at most {points.value.max():.1%}; hallucinated {share:.0%} at step {int(wrong.step[-1])}"
    return Verdict("abstains_never", Level.INFO, sentence, int(points.step[0]), evidence, Act.SAMPLES)


CURVE_RULES: tuple[Rule, ...] = (
    not_finite,
    diverged,
    kl_runaway,
    hacking,
    entropy_collapse,
    overfitting,
    gradient_spikes,
    abstains_always,
    abstains_never,
)


def _stop(run: Observed) -> Act | None:
    return Act.INTERRUPT if run.running else None


def _since(points: Points, holds: np.ndarray) -> int:
    """Return the step from which on something holds to the end. holds: [n], true at the end."""
    broken = np.flatnonzero(~holds)
    return int(points.step[broken[-1] + 1 if broken.size else 0])


def _steps(points: Points, count: int) -> str:
    return f"steps {int(points.step[-count])}–{int(points.step[-1])}"


def _rolling(values: Floats) -> Floats:
    """Return the means of `AVERAGED` neighbours. [n] → [n - AVERAGED + 1]."""
    means: Floats = np.convolve(values, np.full(AVERAGED, 1 / AVERAGED), mode="valid")
    return means


def _noise(values: Floats) -> float:
    """Return the standard deviation about the trend, from the mean distance of neighbours, 2σ/√π."""
    return float(np.abs(np.diff(values)).mean()) * float(np.sqrt(np.pi)) / 2 if values.size > 1 else 0.0


def _correlation(first: Floats, second: Floats, since: int) -> float:
    a, b = first[since:], second[since:]
    if a.size < 3 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _fell(run: Observed, name: str, *, since: int) -> bool:
    """Whether a share is lower now than it was at a step."""
    points = run.series.get(name)
    if points is None or points.value.size < 2:
        return False
    before = int(np.searchsorted(points.step, since, side="right")) - 1
    return bool(points.value[-1] <= points.value[max(before, 0)] - MENDED)
