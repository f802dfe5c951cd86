"""A small cluster at noon: what tests of the scheduler ask, and how they read its answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from engine.dispatch.placement import Want
from engine.dispatch.scheduling import Begin, NodeStanding, Queued, Running, Verdict, Wait, verdicts
from engine.dispatch.turns import turn_of
from engine.telemetry.states import Desired
from tests.dispatch.simulation import HOUR, nodes

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()
NODES = nodes(4)


def want(count: int = 1, slots: int | None = None, most: int | None = None, **others: object) -> Want:
    return replace(Want(NODES, count, most or count, slots), **others)  # type: ignore[arg-type]


def queued(identity: str, asks: Want, age: float = 0.0, priority: int = 0, **others: object) -> Queued:
    plain = Queued(identity, Desired.RUN, {}, priority, NOON - age, asks)
    return replace(plain, **others)  # type: ignore[arg-type]


def running(
    identity: str, held: Mapping[str, range | tuple[int, ...]], ends: float | None = None, **others: object
) -> Running:
    plain = Running(identity, held, NOON - HOUR, None if ends is None else NOON + ends, turn=turn_of(identity, 0, 0.0))
    return replace(plain, **others)  # type: ignore[arg-type]


def whole(*numbers: int) -> dict[str, range]:
    return {f"node-{number}": range(8) for number in numbers}


def decide(
    queue: list[Queued], held: list[Running] | None = None, standing: dict[str, NodeStanding] | None = None
) -> dict[str, Verdict]:
    return verdicts(queue, standing or {}, held or [], NOON)


def places(verdict: Verdict) -> dict[str, tuple[int, ...]]:
    assert isinstance(verdict, Begin), verdict
    return {seat.host: seat.slot_numbers for seat in verdict.seats}


def reason(verdict: Verdict) -> str:
    assert isinstance(verdict, Wait), verdict
    return verdict.reason
