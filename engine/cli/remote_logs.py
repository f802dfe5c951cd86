"""`engine logs --remote`: whole logs, read or searched on the nodes where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.cli.log_lines import Show, chosen_attempt, decoded, printer, say_others
from engine.cli.output import say
from engine.cli.settings import Settings
from engine.errors import NotFound, PlumblineError

if TYPE_CHECKING:
    from engine.cluster.hostfile import Node
    from engine.cluster.session import NodeSession
    from engine.dispatch.placement import Seat
    from engine.store.attempts import Attempt
    from engine.store.database import Store


def print_remote_logs(
    settings: Settings,
    store: Store,
    identity: str,
    *,
    attempt: int | None,
    node: str | None,
    rank: str | None,
    grep: str,
    tail: int | None,
) -> None:
    """Print the lines of logs that match, one rank after the other; what cannot be read is told at the end.

    Raises:
        NotFound: if there is no such log.
        Unreachable, RunFailed: if one cannot be read; the others are printed all the same.
    """
    from engine.dispatch.homes import nodes_of
    from engine.dispatch.placement import from_rows

    tried = chosen_attempt(store, identity, attempt)
    if tried is None:
        raise NotFound(f"{identity} has not been started.")
    wanted = [
        (seat, [each for each in seat.ranks if rank in (None, "all", str(each))])
        for seat in from_rows(tried.placement)
        if node in (None, str(seat.index), seat.host)
    ]
    wanted = [(seat, ranks) for seat, ranks in wanted if ranks]
    if not wanted:
        raise NotFound(f"attempt {tried.number} of {identity} has no such rank.", hint="engine show tells its nodes.")
    ranks = [each for _, of_seat in wanted for each in of_seat]
    if rank is None and len(ranks) > 1:
        say_others(settings, ranks)
        wanted, ranks = [(wanted[0][0], ranks[:1])], ranks[:1]
    nodes = nodes_of(store, identity)
    show = printer(settings, ranks)
    failed: list[PlumblineError] = []
    for seat, of_seat in wanted:
        try:
            _print_seat(nodes, tried, seat, of_seat, show, grep=grep, tail=tail)
        except PlumblineError as error:
            failed.append(error)
    for other in failed[:-1]:
        say(settings, f"error: {other}")
    if failed:
        raise failed[-1]


def _print_seat(
    nodes: Mapping[str, Node],
    tried: Attempt,
    seat: Seat,
    ranks: list[int],
    show: Show,
    *,
    grep: str,
    tail: int | None,
) -> None:
    from engine.cluster.session import NodeSession

    node = nodes.get(seat.host)
    if node is None:
        raise NotFound(f"the hostfile of {tried.experiment_id} does not name {seat.host}.")
    with NodeSession.connect(node) as session:
        for rank in ranks:
            arguments = {"run_dir": tried.run_dir, "attempt": tried.number, "node": seat.index, "rank": rank}
            if _search(session, arguments, show, grep=grep, tail=tail).get("missing"):
                raise NotFound(f"{tried.experiment_id} has no log of rank {rank} there.", where=seat.host)


def _search(
    session: NodeSession, arguments: Mapping[str, Any], show: Show, *, grep: str, tail: int | None
) -> Mapping[str, Any]:
    rest = b""

    def take(header: Mapping[str, Any], data: bytes) -> None:
        nonlocal rest
        *complete, rest = (rest + data).split(b"\n")
        for line in complete:
            show(arguments["rank"], decoded(line))

    return session.ask("search", seconds=None, on_piece=take, grep=grep, tail=tail, **arguments)
