"""What earlier experiments made, as a spec names it in place of a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.store.database import Store

_MOST = 200


def outputs(store: Store) -> tuple[str, ...]:
    """Return `${NAME.OUTPUT}` of experiments that have not failed, newest first, by name and by id; for threads."""
    from engine.spec.models import Kind
    from engine.spec.pipeline import MAKES
    from engine.store import experiments
    from engine.telemetry.states import State

    good = [
        each
        for each in experiments.list_experiments(store)
        if each.kind in list(Kind) and (not each.state.ended or each.state is State.SUCCEEDED)
    ][:_MOST]
    named = [f"${{{word}.{MAKES[Kind(each.kind)]}}}" for each in good for word in (each.name, each.id)]
    return tuple(dict.fromkeys(named))
