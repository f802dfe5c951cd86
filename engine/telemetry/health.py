"""How a run is doing, in words: what its curves and its ranks say, the worst first. Pure: no clock, no files.

The rules look at curves after the fact, so that they also judge runs of other programs and runs that have ended. The
trainer's own rules, which can act, are `engine.train.health`; rules of the same name there mean the same fault.
"""

from __future__ import annotations

from engine.telemetry.health_curves import CURVE_RULES
from engine.telemetry.health_observed import Observed, Verdict
from engine.telemetry.health_ranks import RANK_RULES
from engine.telemetry.records import Level

LOOKED_AT = frozenset(
    {
        *("kl", "score", "response_length", "hallucinated", "entropy", "abstained"),
        *("loss", "eval_loss", "grad_norm", "overflow"),
    }
)  # series that rules look at whole; at others where they end in no finite number, else at their last `RECENT` points
_WORST_FIRST = (Level.ERROR, Level.WARNING, Level.INFO)


def verdicts(run: Observed) -> list[Verdict]:
    """Return all that is wrong with a run, the worst first; none for a healthy one."""
    found = [verdict for rule in (*RANK_RULES, *CURVE_RULES) if (verdict := rule(run)) is not None]
    return sorted(found, key=lambda verdict: _WORST_FIRST.index(verdict.level))
