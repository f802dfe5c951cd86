"""In which order experiments are listed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import InvalidInput
from engine.store.filtering.keys import BEST, LAST, SPEC, family
from engine.telemetry.directions import direction_of
from engine.telemetry.metrics import HEADLINE

if TYPE_CHECKING:
    from engine.store.experiment import Experiment

_Read = Callable[["Experiment", float], Any]
NEWEST_FIRST = "-created"
KEYS: Mapping[str, _Read] = {
    "created": lambda one, now: one.created_at,
    "ended": lambda one, now: one.ended_at,
    "heard": lambda one, now: one.ended_at or one.heard_at or one.created_at,
    "id": lambda one, now: one.id,
    "name": lambda one, now: one.name.lower(),
    "kind": lambda one, now: one.kind,
    "state": lambda one, now: list(type(one.state)).index(one.state),
    "step": lambda one, now: one.step,
    "done": lambda one, now: one.progress,
    "took": lambda one, now: None if one.started_at is None else (one.ended_at or now) - one.started_at,
    "priority": lambda one, now: one.priority,
    "latest": lambda one, now: one.last.get(HEADLINE.get(one.kind, "loss")),
}


def ordered(
    experiments: Sequence[Experiment],
    key: str,
    *,
    specs: Mapping[str, Mapping[str, Any]] | None = None,
    now: float = 0.0,
) -> list[Experiment]:
    """Return them sorted; pinned ones first, those without a value last.

    Args:
        experiments: in an order that stays among equals.
        key: one of `KEYS`, a metric (`last.NAME` or NAME), its best value (`best.NAME`, which the experiments then
            have), or `spec.KEY`; a leading - turns it round.
        specs: values of their specs, by id.
        now: seconds since the epoch.

    Raises InvalidInput for a key that none of them has.
    """
    name, down = key.removeprefix("-"), key.startswith("-")
    read = KEYS.get(name) or _read_of(name, experiments, specs or {})
    keyed = [(one, read(one, now)) for one in experiments]
    there = [pair for pair in keyed if _is_there(pair[1])]
    missing = [one for one, value in keyed if not _is_there(value)]
    mixed = len({isinstance(value, str) for _, value in there}) > 1
    there.sort(key=lambda pair: str(pair[1]) if mixed else pair[1], reverse=down)
    return pinned_first([*(one for one, _ in there), *missing])


def pinned_first(experiments: Iterable[Experiment]) -> list[Experiment]:
    """Return them with the pinned ones first; the order stays otherwise."""
    return sorted(experiments, key=lambda one: one.pinned_at is None)


def _is_there(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _read_of(name: str, experiments: Sequence[Experiment], specs: Mapping[str, Mapping[str, Any]]) -> _Read:
    prefix, rest = family(name) or (LAST, name)
    if prefix == SPEC:
        return lambda one, now: _sortable(specs.get(one.id, {}).get(rest))
    metrics = {metric for one in experiments for metric in one.last}
    if rest not in metrics and experiments:
        near = difflib.get_close_matches(name, [*KEYS, *metrics], n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Keys: {', '.join(KEYS)}, a metric, or spec.KEY."
        raise InvalidInput(f"cannot sort by {name}.", hint=hint)
    if prefix == BEST:
        if not direction_of(rest):
            told = f"cannot sort by {name}: whether more or less of {rest} is better is not known."
            raise InvalidInput(told, hint=f"Sort by {rest}.")
        return lambda one, now: one.best.get(rest)
    return lambda one, now: one.last.get(rest)


def _sortable(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else str(value)
