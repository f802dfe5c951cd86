"""What comes before the agents: the nodes are looked over, code and data laid there, the work folders made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from engine.cluster.hostfile import Node
from engine.cluster.link import NodeLink
from engine.cluster.preflight import Facts, Here, first_objection
from engine.cluster.snapshot import find_snapshot
from engine.cluster.staging import Request, Staged, Staging, Target
from engine.dispatch.job import packages_of, require_equal_versions
from engine.dispatch.nodes import Nodes
from engine.dispatch.seated import Seated
from engine.errors import PlumblineError, Refused
from engine.spec.canonical import to_yaml
from engine.spec.models import AnySpec, Kind
from engine.spec.references import with_paths
from engine.spec.resolve import input_paths
from engine.store.database import Store

STAGE_SECONDS = 90.0  # the longest that a node may take to lay everything ready
OTHERS_SECONDS = 10.0  # the longest wait for a node that may have an input, and is not of the run
TOLD_SECONDS = 2.0  # between two notes of how far it is


class Preparation:
    """Makes the nodes of one attempt ready. It may be broken off and begun anew at any point."""

    def __init__(
        self,
        store: Store,
        spec: AnySpec,
        code: str | None,
        *,
        seated: Sequence[Seated],
        others: Sequence[tuple[Node, NodeLink]],
        nodes: Nodes,
        for_all: bool = False,
    ) -> None:
        """Prepare to make ready.

        Args:
            store: of the experiment.
            spec: what runs.
            code: SHA-256 of the snapshot that runs it; None: what the nodes have.
            seated: its nodes.
            others: nodes that may have what the spec takes from other experiments.
            nodes: all that are known.
            for_all: what is laid on the first node is there for all, who find each other by themselves: Slurm's do.
        """
        self._store, self._spec, self._code = store, spec, code
        self._seated, self._for_all = seated[:1] if for_all else seated, for_all
        self._others, self._nodes = others, nodes
        self._since = time.monotonic()
        self._staging: Staging | None = None
        self._told_at = 0.0
        self.staged: Staged | None = None

    @property
    def links(self) -> set[NodeLink]:
        """The links that are needed beside those of the run's own nodes."""
        return set() if self.staged is not None else {link for _, link in self._others}

    def cancel(self) -> None:
        """Send nothing more."""
        if self._staging is not None:
            self._staging.cancel()

    def looked_over(self, here: Here) -> bool:
        """Whether the nodes were looked over. Raises Refused if something speaks against a start on them."""
        if self._spec.kind is Kind.SIM:
            return True  # it needs nothing but a Python
        documents = [self._nodes.probe(seated.node) for seated in self._seated]
        if any(document is None for document in documents):
            return False
        facts = [Facts(each.node, probe=found) for each, found in zip(self._seated, documents, strict=True)]
        # The snapshot runs, whatever engine is installed there.
        objection = first_objection(facts, here, but={"engine"} if self._code is not None else ())
        if objection is not None:
            self._nodes.forget_probe(objection.host)
            raise Refused(objection.message, hint=objection.hint, where=objection.host)
        return True

    def laid(self, tell: Callable[[str], None]) -> bool:
        """Whether code and data are on the nodes. Raises PlumblineError if they cannot be brought there."""
        if self.staged is not None:
            return True
        if self._staging is None:
            waits = any(not link.connected for _, link in self._others)
            if waits and time.monotonic() - self._since < OTHERS_SECONDS:
                return False
            code = None if self._code is None else find_snapshot(self._store.objects_dir, self._code)
            targets = [Target(each.node, each.link.session, each.link.address) for each in self._seated]
            others = [Target(node, link.session, link.address) for node, link in self._others if link.connected]
            request = Request([str(path) for path in input_paths(self._spec)], code, others)
            self._staging = Staging(targets, request, objects=self._store.objects_dir)
            self._staging.start()
        outcome, progress = self._staging.outcome, self._staging.progress
        if isinstance(outcome, PlumblineError):
            self._staging = None
            raise outcome
        if outcome is not None:
            self.staged = outcome
            return True
        if progress is not None and time.monotonic() - self._told_at > TOLD_SECONDS:
            self._told_at = time.monotonic()
            tell(progress.sentence())
        return False

    def ready(self, asks: Callable[[Seated, Mapping[str, object]], None]) -> bool:
        """Whether every node has answered to `stage`; node 0 comes first: the others look whether they see its files.

        asks: sends the request with these arguments.

        Raises:
            Refused: if a node is not as it must be.
        """
        first, *others = self._seated
        now = time.monotonic()
        for seated in [first] if first.staged is None else others:
            if seated.staged is None and now - seated.asked_at >= STAGE_SECONDS:
                seated.asked_at = now
                asks(seated, self._arguments(seated))
        for seated in self._seated:
            problem = None if seated.staged is None else seated.staged.get("problem")
            if problem is not None:
                raise Refused(f"{seated.host} {problem}.")
        replies = [seated.staged for seated in self._seated if seated.staged is not None]
        if len(replies) < len(self._seated):
            return False
        versions = [dict(reply["versions"]) for reply in replies]
        if self._code is not None:
            for found in versions:
                found.pop("plumbline", None)  # the snapshot runs, whatever is installed there
        require_equal_versions(versions, [seated.host for seated in self._seated])
        return True

    def _arguments(self, seated: Seated) -> Mapping[str, object]:
        assert self.staged is not None
        own = not seated.node.shared and not seated.node.is_local
        return {
            "shared": {"spec.yaml": to_yaml(with_paths(self._spec, self.staged.paths))},
            "own": own,
            "python": seated.node.python,
            "packages": list(packages_of(self._spec.kind)),
            "port_on": seated.link.address if seated.seat.index == 0 and not self._for_all else None,
        }
