"""How the nodes of a hostfile stand just now: who holds their slots, how busy they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.cluster.contacts import Contact, Contacts
from engine.cluster.hostfile import Node
from engine.errors import PlumblineError

ANSWER_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Standing:
    """A node; of one that cannot be reached only why."""

    node: Node
    error: PlumblineError | None = None
    vitals: Mapping[str, Any] = field(default_factory=dict)  # as `engine.cluster.node.probe.vitals`
    leases: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)  # the holder, by slot


def look(nodes: Sequence[Node]) -> list[Standing]:
    """Ask all nodes at once; return how each stands, in their order."""
    with Contacts(nodes) as contacts:
        found = contacts.ask(_standing, seconds=ANSWER_SECONDS)
        return [found.get(contact.node.host, Standing(contact.node, error=contact.error)) for contact in contacts.all]


def _standing(contact: Contact) -> Standing:
    vitals = contact.session.ask("vitals", seconds=ANSWER_SECONDS)
    held = contact.session.ask("leases")["held"]
    return Standing(contact.node, vitals=vitals, leases={int(slot): holder for slot, holder in held.items()})
