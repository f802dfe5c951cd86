"""Experiments: what a person wants to run, and how it stands. All functions raise NotFound for an unknown id."""

from __future__ import annotations

import difflib
import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from sqlalchemy import ColumnElement, Connection, select
from sqlalchemy.dialects.sqlite import insert

from engine.errors import InvalidInput, NotFound, Refused
from engine.store import schema
from engine.store.bookkeeping import checked_name, insert_tags
from engine.store.dependents import given_up_after
from engine.store.experiment import Experiment, from_row, query, read
from engine.store.inputs import Input, record
from engine.store.numbers import next_number
from engine.store.standing import change, follow, queue_again, require, unknown
from engine.store.text import storable, storable_document
from engine.telemetry.states import ENDED, ENDED_AS, Desired, State

if TYPE_CHECKING:
    from engine.spec.models import AnySpec
    from engine.store.database import Store

_table = schema.experiments
_MOST_NAMED = 5  # experiments that an error names


class Queueing(TypedDict, total=False):
    """How an experiment is queued; see `add`."""

    name: str | None
    tags: Iterable[str]
    hostfile: str | None
    hostfile_text: str | None
    after: Iterable[str]
    parent_id: str | None
    inputs: Sequence[Input]
    priority: int
    forced: bool
    code: str | None


def create(store: Store, spec: AnySpec, **how: Unpack[Queueing]) -> str:
    """Queue an experiment, in a transaction of its own, and return its id."""
    with store.write() as connection:
        return add(connection, spec, **how)


def add(
    connection: Connection,
    spec: AnySpec,
    *,
    name: str | None = None,
    tags: Iterable[str] = (),
    hostfile: str | None = None,
    hostfile_text: str | None = None,
    after: Iterable[str] = (),
    parent_id: str | None = None,
    inputs: Sequence[Input] = (),
    priority: int = 0,
    forced: bool = False,
    code: str | None = None,
) -> str:
    """Queue an experiment in a transaction, and return its id.

    Args:
        connection: of the transaction.
        spec: what it is.
        name: null for the spec's name, or else the id.
        tags: for people.
        hostfile: where the hostfile was read from; null for this machine alone.
        hostfile_text: what stood in it.
        after: ids of experiments that must have succeeded before.
        parent_id: the experiment it was made from.
        inputs: what its spec takes from other experiments.
        priority: higher first.
        forced: it begins also where its plan says that it cannot run.
        code: SHA-256 of the snapshot of our code that is to run it; null for what the nodes have.
    """
    parents = list(dict.fromkeys(after))
    for other in parents if parent_id is None else [*parents, parent_id]:
        require(connection, other)
    identity = f"{spec.kind}-{next_number(connection, spec.kind):04d}"
    connection.execute(
        insert(_table).values(
            id=identity,
            name=checked_name(name if name is not None else spec.name or identity),
            kind=spec.kind,
            **_columns_of(spec),
            parent_id=parent_id,
            hostfile=None if hostfile is None else storable(hostfile),
            hostfile_text=None if hostfile_text is None else storable(hostfile_text),
            desired=Desired.RUN,
            state=State.QUEUED,
            created_at=time.time(),
            note=None if spec.note is None else storable(spec.note),
            priority=priority,
            forced=int(forced),
            code=code,
        )
    )
    insert_tags(connection, identity, tags)
    if parents:
        rows = [{"experiment_id": identity, "after_id": parent} for parent in parents]
        connection.execute(insert(schema.dependencies), rows)
    record(connection, identity, inputs)
    return identity


def resolve(store: Store, reference: str) -> str:
    """Return the id that an id, a name or a unique beginning of an id means.

    Raises:
        NotFound: if there is no such experiment; near ones are named.
        InvalidInput: if there are several; they are named.
    """
    with store.read() as connection:
        rows = connection.execute(select(_table.c.id, _table.c.name)).all()
    names: dict[str, str] = {identity: name for identity, name in rows}
    if reference in names:
        return reference
    found = [identity for identity, name in names.items() if name == reference]
    found = found or [identity for identity in names if reference and identity.startswith(reference)]
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(sorted(found)[:_MOST_NAMED]) + (", …" if len(found) > _MOST_NAMED else "")
        raise InvalidInput(f"{reference} means {len(found)} experiments: {shown}.", hint="Name one by its id.")
    raise NotFound(f"there is no experiment {reference!r}.", hint=_nearest(reference, names))


def get(store: Store, identity: str) -> Experiment:
    """Return one experiment."""
    with store.read() as connection:
        found = read(connection, _table.c.id == identity)
    if not found:
        raise unknown(identity)
    return found[0]


def list_experiments(store: Store, *, archived: bool = False) -> list[Experiment]:
    """Return the experiments, newest first; archived ones only if asked for. Costs a fixed number of statements."""
    with store.read() as connection:
        return read(connection, None if archived else _table.c.archived_at.is_(None))


def unfinished(store: Store) -> list[Experiment]:
    """Return the experiments that have not ended, oldest first, without their tags and last values. Costs little."""
    with store.read() as connection:
        rows = connection.execute(query().where(_table.c.state.not_in(ENDED)))
        return [from_row(row, (), {}) for row in rows][::-1]


def get_spec(store: Store, identity: str) -> AnySpec:
    """Return the spec of an experiment."""
    return _parsed(spec_text(store, identity), identity)


@functools.lru_cache(maxsize=256)  # they are asked for again and again, and never change
def _parsed(text: str, identity: str) -> AnySpec:
    from engine.spec.loading import parse_spec

    return parse_spec(text, identity)


def spec_text(store: Store, identity: str) -> str:
    """Return the spec of an experiment as canonical YAML."""
    return str(_value(store, identity, _table.c.spec))


def hostfile_text(store: Store, identity: str) -> str | None:
    """Return what stood in the hostfile at launch; null for this machine alone."""
    text = _value(store, identity, _table.c.hostfile_text)
    return None if text is None else str(text)


def set_desired(store: Store, identity: str, desired: Desired) -> None:
    """Say what is wanted of an experiment that has not ended.

    A stop stays a stop: it is not taken back, nor made gentle once it is to be at once.

    Raises:
        Refused: if it has ended, or is being stopped and should run.
    """
    with store.write() as connection:
        row = require(connection, identity)
        if row.state.ended:
            raise Refused(f"{identity} has ended already: it {ENDED_AS[row.state]}.")
        if desired is Desired.RUN and row.desired is not Desired.RUN:
            raise Refused(f"{identity} is being stopped.", hint="Resume it when it has ended.")
        if row.desired is not Desired.STOP_NOW:
            change(connection, identity, desired=desired)


def resume(store: Store, identity: str, spec: AnySpec | None = None, inputs: Sequence[Input] = ()) -> list[str]:
    """Queue a new attempt, and with it what never began because this one had not succeeded.

    Args:
        store: where.
        identity: which.
        spec: null to keep the one it has.
        inputs: what it newly takes from other experiments.

    Returns:
        The ids of the others that are queued again.

    Raises:
        Refused: if the experiment has not ended.
        InvalidInput: if the spec is of another kind.
    """
    changed: dict[str, Any] = {}
    paths: list[str] = []
    if spec is not None:
        from engine.spec.resolve import paths_by_key

        changed = _columns_of(spec)
        paths = list(paths_by_key(spec).values())
    with store.write() as connection:
        row = require(connection, identity)
        if not row.state.ended:
            raise Refused(f"{identity} is {row.state}; only an experiment that has ended can be resumed.")
        if spec is not None and spec.kind != row.kind:
            raise InvalidInput(f"{identity} is of kind {row.kind}; the new spec is of kind {spec.kind}.")
        others = given_up_after(connection, identity)
        for each in (identity, *others):
            queue_again(connection, each, **(changed if each == identity else {}))
        if spec is not None:
            record(connection, identity, inputs, kept=paths)
        return others


def set_state(
    store: Store,
    identity: str,
    state: State,
    *,
    reason: str | None = None,
    exit_code: int | None = None,
    for_want_of: str | None = None,
) -> None:
    """Say how a queued experiment stands: why it waits, or that it ended without an attempt.

    for_want_of: the parent whose end is the reason; nothing changes if that has been queued again meanwhile.

    Raises:
        Refused: if an attempt of it is under way, or it has ended otherwise.
    """
    with store.write() as connection:
        row = require(connection, identity)
        if row.state is not State.QUEUED:
            if row.state is state:
                return
            raise Refused(f"{identity} is {row.state}, no longer queued.")
        if state is not State.QUEUED and not state.ended:
            raise ValueError(f"a queued experiment becomes {state} by an attempt")
        if for_want_of is not None and not require(connection, for_want_of).state.ended_badly:
            return
        if (row.state, row.reason, row.exit_code) != (state, reason, exit_code):
            ended_at = time.time() if state.ended else None
            follow(connection, identity, state, reason=reason, exit_code=exit_code, ended_at=ended_at)


def settle(store: Store, identity: str, spec: AnySpec, inputs: Sequence[Input]) -> None:
    """Give a queued experiment the spec that runs: with paths in place of references, and what these mean."""
    columns = _columns_of(spec)
    with store.write() as connection:
        if require(connection, identity).state is State.QUEUED:
            change(connection, identity, **columns)
            record(connection, identity, inputs)


def postpone(store: Store, identity: str, *, reason: str, not_before: float, faults: int) -> None:
    """Let a queued experiment wait until a time, in seconds since the epoch, after a fault of the cluster."""
    with store.write() as connection:
        if require(connection, identity).state is State.QUEUED:
            change(connection, identity, reason=storable(reason), not_before=not_before, faults=faults)


def _value(store: Store, identity: str, column: ColumnElement[Any]) -> Any:
    with store.read() as connection:
        row = connection.execute(select(column).where(_table.c.id == identity)).one_or_none()
    if row is None:
        raise unknown(identity)
    return row[0]


def _nearest(reference: str, names: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(reference, [*names, *names.values()], n=3)
    if near:
        return f"Did you mean {' or '.join(dict.fromkeys(near))}?"
    return "engine ls --all shows all." if names else "There are no experiments yet."


def _columns_of(spec: AnySpec) -> dict[str, Any]:
    """Return what the columns of a spec hold: its canonical text, its hash, its values by dotted key."""
    from engine.spec.canonical import flatten, spec_hash, to_yaml

    return {
        "spec": storable(to_yaml(spec)),
        "spec_hash": spec_hash(spec),
        "spec_values": storable_document(flatten(spec)),
    }
