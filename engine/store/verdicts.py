"""How a run of the store is doing: its curves and the last marks of its ranks, put before the rules of health."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.spec.models import PpoSpec
from engine.store import attempts, experiments
from engine.store.point_arrays import newest
from engine.telemetry.health import LOOKED_AT, verdicts
from engine.telemetry.health_observed import RECENT, Observed, RankMark, Verdict
from engine.telemetry.states import State

if TYPE_CHECKING:
    from engine.spec.models import AnySpec
    from engine.store.attempts import Contact
    from engine.store.database import Store

HEARD_SECONDS = 20.0  # a node that was not heard for longer says nothing of now


def read_verdicts(store: Store, identity: str, now: float) -> list[Verdict]:
    """Return what is wrong with an experiment, the worst first. now: seconds since the epoch.

    Raises NotFound if there is no such experiment.
    """
    experiment = experiments.get(store, identity)
    curves = dict(newest(store, identity, LOOKED_AT, RECENT))
    contacts = [each for each in attempts.contacts(store, identity) if each.attempt == experiment.attempts]
    observed = Observed(
        kind=experiment.kind,
        running=experiment.state is State.RUNNING,
        series=curves,
        now=now,
        kl_target=kl_target(experiments.get_spec(store, identity)),
        heard=all_heard(contacts, now),
        ranks=rank_marks(contacts, now),
    )
    return verdicts(observed)


def kl_target(spec: AnySpec) -> float | None:
    """Return the divergence that a run aims at, nats per sequence."""
    return spec.ppo.kl_target if isinstance(spec, PpoSpec) else None


def all_heard(contacts: Sequence[Contact], now: float) -> bool:
    """Whether no node of an attempt is silent. contacts: of that attempt."""
    return all(each.heard_at is not None and now - each.heard_at < HEARD_SECONDS for each in contacts)


def rank_marks(contacts: Sequence[Contact], now: float) -> list[RankMark]:
    """Return the last marks of the ranks of those nodes that report. contacts: of one attempt."""
    marks = []
    for contact in contacts:
        if contact.heard_at is None or contact.pulse is None or now - contact.heard_at >= HEARD_SECONDS:
            continue
        for name, found in (contact.pulse.get("ranks") or {}).items():
            step, ago = found.get("step"), found.get("ago")
            if isinstance(step, int) and isinstance(ago, (int, float)) and str(name).isdecimal():
                since = max(0.0, ago + now - contact.heard_at)
                marks.append(RankMark(int(name), contact.host, step, str(found.get("phase") or ""), since))
    return sorted(marks, key=lambda mark: mark.rank)
