"""The rules of health that look at the ranks: one that holds the others up, and a run that stands still."""

from __future__ import annotations

from engine.telemetry.health_observed import Act, Observed, RankMark, Rule, Verdict, seconds_per_step
from engine.telemetry.numbers import duration
from engine.telemetry.records import Level

STALL_STEPS = 10.0  # times the median step without a point
STALL_SECONDS = 120.0  # at least
SLOW_PHASE_TIMES = 10.0  # how much longer work may take that is marked once, when it begins
SLOW_PHASES = frozenset({"meet", "build", "resume", "generate", "score", "evaluate", "checkpoint", "settle", "export"})
BEHIND_STEPS = 2.0  # times the median step that a rank may be behind
BEHIND_SECONDS = 20.0  # at least: heartbeats of nodes come at different times


def stalled(run: Observed) -> Verdict | None:
    """No point for much longer than a step takes, though the nodes report."""
    times = [float(points.time[-1]) for points in run.series.values() if points.time.size]
    pace = seconds_per_step(run.series)
    if not run.running or not run.heard or not times or pace is None:
        return None
    silence = run.now - max(times)
    oldest = max(run.ranks, key=lambda mark: mark.seconds, default=None)
    patience = max(STALL_SECONDS, STALL_STEPS * pace)
    busy = oldest is None or oldest.phase in SLOW_PHASES
    if silence <= patience * (SLOW_PHASE_TIMES if busy else 1.0) or (oldest is not None and oldest.seconds <= patience):
        return None
    step = max(int(points.step[-1]) for points in run.series.values() if points.step.size)
    where = f" {_named(oldest)} has been in {_phase(oldest)} for {duration(oldest.seconds)}." if oldest else ""
    sentence = f"Nothing was measured for {duration(silence)}, and a step takes {duration(pace)}.{where}"
    evidence = f"last point at step {step}; median step {pace:.3g} s"
    return Verdict("stalled", Level.ERROR, sentence, step, evidence, Act.LOG)


def slow_rank(run: Observed) -> Verdict | None:
    """Others are a step further and wait for one rank; where nothing goes on any more, `stalled` says so."""
    pace = seconds_per_step(run.series)
    if not run.running or not run.heard or len(run.ranks) < 2 or pace is None or stalled(run) is not None:
        return None
    furthest = max(mark.step for mark in run.ranks)
    patience = max(BEHIND_SECONDS, BEHIND_STEPS * pace)
    behind = [mark for mark in run.ranks if mark.step < furthest and mark.seconds > patience]
    if not behind or len(behind) * 2 > len(run.ranks):
        return None
    slowest = max(behind, key=lambda mark: mark.seconds)
    others = f" and {len(behind) - 1} more" if len(behind) > 1 else ""
    ahead = sum(mark.step == furthest for mark in run.ranks)
    sentence = (
        f"{_named(slowest)}{others} holds the others up: in {_phase(slowest)} of step {slowest.step} for "
        f"{duration(slowest.seconds)}, while {ahead} of {len(run.ranks)} ranks are at step {furthest}."
    )
    evidence = f"median step {pace:.3g} s"
    return Verdict("slow_rank", Level.WARNING, sentence, slowest.step, evidence, Act.LOG)


RANK_RULES: tuple[Rule, ...] = (stalled, slow_rank)


def _named(mark: RankMark) -> str:
    return f"Rank {mark.rank} ({mark.host})"


def _phase(mark: RankMark) -> str:
    return mark.phase.replace("_", " ") or "no phase"
