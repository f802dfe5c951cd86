"""The nodes that the dispatcher needs: the link to each, how it stands, what was found when it was looked over."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import Any

from engine.cluster.channel import Transport
from engine.cluster.checking import probe_arguments
from engine.cluster.hostfile import Node
from engine.cluster.link import Frame, LinkDown, LinkUp, Message, NodeLink
from engine.dispatch.placement import node_key
from engine.dispatch.reasons import holder_name
from engine.dispatch.scheduling import NodeStanding
from engine.dispatch.seated import lasts
from engine.store import nodes as store_nodes
from engine.store.database import Store

WATCH_SECONDS = 5.0  # between two looks at a node's load and leases
SAMPLE_SECONDS = 30.0  # between two that are kept for curves
PROBE_LASTS_SECONDS = 300.0
PROBE_AGAIN_SECONDS = 30.0  # a lost answer is asked for again
CALL_SECONDS = 6.0  # without an answer for so long, a node counts as one that cannot be reached


@dataclass(slots=True)
class _Known:
    """What is known of a machine."""

    node: Node
    link: NodeLink
    since: float  # monotonic seconds
    standing: Mapping[str, Any] = field(default_factory=dict)
    probe: Mapping[str, Any] | None = None
    probed_at: float = float("-inf")  # when the answer came
    asked_at: float = float("-inf")
    sampled_at: float = float("-inf")


class Nodes:
    """Links to nodes, one a machine and way to it, whatever the number of runs."""

    def __init__(
        self, store: Store, inbox: queue.Queue[Message], connect: Callable[[Node], Transport], database: str
    ) -> None:
        self._store, self._inbox, self._connect, self._database = store, inbox, connect, database
        self._known: dict[tuple[Any, ...], _Known] = {}
        self._by_link: dict[NodeLink, _Known] = {}

    def link(self, node: Node) -> NodeLink:
        """Return the link to a node; it begins to connect when it is first asked for."""
        return self._of(node).link

    def _of(self, node: Node) -> _Known:
        key = astuple(replace(node, slots=1))
        found = self._known.get(key)
        if found is None:
            link = NodeLink(node, self._inbox, self._connect)
            found = self._known[key] = self._by_link[link] = _Known(node, link, time.monotonic())
            link.start()
        return found

    def keep(self, used: Collection[NodeLink]) -> None:
        """Let the links go that nobody uses."""
        for key, known in list(self._known.items()):
            if known.link not in used:
                known.link.close()
                del self._known[key], self._by_link[known.link]

    def close(self) -> None:
        """Let all go; what runs on the nodes goes on."""
        for known in self._known.values():
            known.link.close()
        for known in self._known.values():
            known.link.join(2.0)

    def take(self, message: Message) -> None:
        """Note what a message says about its node."""
        known = self._by_link.get(message.link)
        if known is None:
            return
        if isinstance(message, LinkUp):
            known.asked_at = float("-inf")
            known.link.request("watch", seconds=WATCH_SECONDS, workdir=known.node.workdir or "~")
        elif isinstance(message, LinkDown):
            self._tell(known, None)
        elif isinstance(message, Frame):
            self._hear(known, message.header)

    def _hear(self, known: _Known, header: Mapping[str, Any]) -> None:
        if isinstance(header.get("node"), dict):
            known.standing = header["node"]
            self._tell(known, known.standing)
        elif header.get("reply") == ["node", "probe"]:
            known.probe, known.probed_at = header, time.monotonic()

    def _tell(self, known: _Known, standing: Mapping[str, Any] | None) -> None:
        now, error = time.monotonic(), known.link.problem
        sample = standing is not None and now - known.sampled_at >= SAMPLE_SECONDS
        if sample:
            known.sampled_at = now
        store_nodes.hear(
            self._store,
            node_key(known.node),
            known.node.host,
            heard_at=None if standing is None else time.time(),
            message=None if error is None else error.message,
            standing=standing,
            sample=sample,
        )

    def probe(self, node: Node) -> Mapping[str, Any] | None:
        """Return what was found when the node was last looked over, lately; null while the answer is awaited."""
        known, now = self._of(node), time.monotonic()
        if known.probe is not None and now - known.probed_at < PROBE_LASTS_SECONDS:
            return known.probe
        if known.link.connected and now - known.asked_at > PROBE_AGAIN_SECONDS:
            known.asked_at = now
            known.link.request("probe", id=["node", "probe"], **probe_arguments(node))
        return None

    def forget_probe(self, host: str) -> None:
        """What was found on a node speaks against a start: the next start looks again."""
        for known in self._known.values():
            if known.node.host == host:
                known.probe, known.asked_at = None, float("-inf")

    def standing(self) -> dict[str, NodeStanding]:
        """Return what keeps runs from nodes, by node key, beside the runs of this database."""
        drained = store_nodes.drained(self._store)
        found = {key: NodeStanding(drained=True) for key in drained}
        for known in self._known.values():
            key = node_key(known.node)
            foreign = dict(self._foreign(known))
            unreachable = self._unreachable(known)
            found[key] = NodeStanding(foreign, key in drained, unreachable)
        return found

    def _foreign(self, known: _Known) -> Iterator[tuple[int, str]]:
        for slot, holder in (known.standing.get("leases") or {}).items():
            if not isinstance(holder, dict) or holder.get("database") != self._database:
                yield int(slot), holder_name(holder if isinstance(holder, dict) else {})

    def is_barred(self, host: str) -> bool:
        """Whether a node lets nobody in until a person mends something."""
        problems = [known.link.problem for known in self._known.values() if known.node.host == host]
        return any(each is not None and lasts(each) for each in problems)

    @staticmethod
    def _unreachable(known: _Known) -> str | None:
        error = known.link.problem
        if known.link.connected or error is None:
            return None
        heard = known.link.heard_at
        silent = time.monotonic() - max(known.since, heard if heard is not None else known.since)
        return error.message if silent >= CALL_SECONDS else None
