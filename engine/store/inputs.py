"""Lineage: what an experiment takes from others, by reference, and what others take from it."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, delete, or_, select
from sqlalchemy.dialects.sqlite import insert

from engine.errors import Refused
from engine.store import schema
from engine.store.standing import require
from engine.store.text import storable
from engine.telemetry.states import ENDED_AS, State

if TYPE_CHECKING:
    from engine.spec.references import Reference
    from engine.store.database import Store

_experiments = schema.experiments.c
_table = schema.inputs


@dataclass(frozen=True, slots=True)
class Input:
    """An output of one experiment that another one takes."""

    reference: str  # as the spec said it
    path: str  # on the nodes; this is what stands in the spec that runs
    parent_id: str
    kind: str  # of the artifact; "run" for the run directory
    sha256: str | None  # of the artifact, when it was looked up
    step: int | None  # after which the parent made it

    def made_by(self, name: str) -> str:
        """Return "facts-sft (sft-0012, step 600, sha 1a2b3c4d5e6f)". name: of the parent."""
        known_as = [] if name == self.parent_id else [self.parent_id]
        step = [] if self.step is None else [f"step {self.step}"]
        digest = [] if self.sha256 is None else [f"sha {self.sha256[:12]}"]
        facts = ", ".join([*known_as, *step, *digest])
        return f"{name} ({facts})" if facts else name


@dataclass(frozen=True, slots=True)
class Taken:
    """An input, with the name that the parent has now; its id, if it was deleted."""

    input: Input
    parent_name: str


def look_up(store: Store, reference: Reference) -> Input:
    """Return what a reference means now: the output of the newest experiment of that name that has succeeded.

    An id means that one experiment; a name none that is archived.

    Raises:
        Refused: with a sentence on why there is no such output.
    """
    with store.read() as connection:
        row = _succeeded(connection, reference)
        if reference.is_run:
            run_dir = _run_dir(connection, row.id)
            found = Input(reference.text, run_dir, row.id, reference.output, sha256=None, step=row.step)
        else:
            found = _artifact(connection, row, reference)
    return replace(found, path=str(PurePosixPath(found.path) / reference.below))


def awaited(store: Store, reference: Reference, after: Collection[str] = ()) -> str | None:
    """Return the experiment that is still to make what a reference means; None if it means what is there, or nothing.

    That is one of `after` with that name or id, or else the newest of that name, if none of that name has succeeded.
    """
    named = select(_experiments.id, _experiments.state).where(
        or_(_experiments.id == reference.name, _experiments.name == reference.name), _experiments.archived_at.is_(None)
    )
    with store.read() as connection:
        rows = connection.execute(named.order_by(_experiments.created_at.desc(), _experiments.id.desc())).all()
    rows = [row for row in rows if row.id == reference.name] or list(rows)
    if (chosen := [row for row in rows if row.id in after]) or all(row.state != State.SUCCEEDED for row in rows):
        newest = next(iter(chosen or rows), None)
        if newest is not None and not State(newest.state).ended:
            return str(newest.id)
    return None


def inputs_of(store: Store, identity: str) -> list[Taken]:
    """Return what an experiment takes from others. Raises NotFound if there is no such experiment."""
    columns = [_table.c[field.name] for field in fields(Input)]
    found = select(*columns, _experiments.name).outerjoin(schema.experiments, _experiments.id == _table.c.parent_id)
    with store.read() as connection:
        require(connection, identity)
        rows = connection.execute(found.where(_table.c.experiment_id == identity).order_by(_table.c.path))
        return [Taken(Input(*values), name or values[2]) for *values, name in rows]


def users_of(store: Store, identity: str) -> list[str]:
    """Return the ids of the experiments that take an output of this one."""
    found = select(_table.c.experiment_id).where(_table.c.parent_id == identity).distinct()
    with store.read() as connection:
        return list(connection.execute(found.order_by(_table.c.experiment_id)).scalars())


def record(connection: Connection, identity: str, inputs: Sequence[Input], *, kept: Collection[str] = ()) -> None:
    """Write down what an experiment takes; of what it took before, only what has one of the `kept` paths stays."""
    mine = _table.c.experiment_id == identity
    connection.execute(delete(_table).where(mine, _table.c.path.not_in(list(kept))))
    for taken in inputs:
        values: dict[str, Any] = asdict(taken) | {"reference": storable(taken.reference), "path": storable(taken.path)}
        connection.execute(insert(_table).prefix_with("OR REPLACE").values(experiment_id=identity, **values))


def _succeeded(connection: Connection, reference: Reference) -> Row[Any]:
    """Return the experiment that a reference means."""
    columns = ("id", "name", "state", "reason", "step", "total_steps", "archived_at")
    named = select(*(_experiments[column] for column in columns)).where(
        or_(_experiments.id == reference.name, _experiments.name == reference.name)
    )
    rows = connection.execute(named.order_by(_experiments.created_at.desc(), _experiments.id.desc())).all()
    by_id = [row for row in rows if row.id == reference.name]
    found = by_id or [row for row in rows if row.archived_at is None]
    if not rows:
        raise Refused(f"there is no experiment {reference.name!r}.", hint=_nearest(connection, reference.name))
    if not found:
        raise Refused(f"{_called(rows[0])} is archived.", hint=f"Restore it: engine restore {rows[0].id}.")
    done = next((row for row in found if row.state == State.SUCCEEDED), None)
    if done is not None:
        return done
    newest, state = found[0], State(found[0].state)
    if not state.ended:
        at = f" at step {newest.step} of {newest.total_steps}" if newest.total_steps else ""
        raise Refused(
            f"{_called(newest)} has not finished: it is {state}{at}.", hint="Launch this when it has succeeded."
        )
    why = f": {newest.reason}" if newest.reason else "."
    ended = ENDED_AS[state]
    raise Refused(f"{_called(newest)} {ended}{why}", hint=f"Resume it: engine resume {newest.id}.")


def _called(row: Row[Any]) -> str:
    return row.id if row.name == row.id else f"{row.name} ({row.id})"


def _artifact(connection: Connection, row: Row[Any], reference: Reference) -> Input:
    columns = schema.artifacts.c
    found = select(columns.path, columns.kind, columns.sha256, columns.step).where(columns.experiment_id == row.id)
    # The newest of each kind.
    made = {each.kind: each for each in connection.execute(found.order_by(columns.created_at, columns.id))}
    has = f"it has {' and '.join(made)}" if made else "it has none"
    if reference.is_any and len(made) != 1:
        raise Refused(f"{_called(row)} has not exactly one artifact: {has}.", hint=_write(row.name, made))
    output = next(iter(made)) if reference.is_any else reference.output
    if output not in made:
        raise Refused(f"{_called(row)} has no artifact {output}: {has}.", hint=_write(row.name, made))
    one = made[output]
    return Input(reference.text, one.path, row.id, one.kind, one.sha256, one.step)


def _write(name: str, kinds: Collection[str]) -> str | None:
    return f"Write {' or '.join(f'${{{name}.{kind}}}' for kind in kinds)}." if kinds else None


def _run_dir(connection: Connection, identity: str) -> str:
    attempt = schema.attempts.c
    found = select(attempt.run_dir).where(attempt.experiment_id == identity).order_by(attempt.number.desc())
    return str(connection.execute(found.limit(1)).scalar_one())


def _nearest(connection: Connection, name: str) -> str:
    known = connection.execute(select(_experiments.id, _experiments.name).where(_experiments.archived_at.is_(None)))
    words = list(dict.fromkeys(word for row in known for word in (row.name, row.id)))
    near = difflib.get_close_matches(name, words, n=3)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return "engine ls shows all." if words else "There are no experiments yet."
