"""An experiment of the list as a JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.telemetry.json_values import iso_time, json_metrics

if TYPE_CHECKING:
    from engine.store.experiment import Experiment


def as_document(experiment: Experiment) -> dict[str, Any]:
    """Return the experiment as `engine ls --json` prints it."""
    return {
        "id": experiment.id,
        "name": experiment.name,
        "kind": experiment.kind,
        "state": experiment.state,
        "desired": experiment.desired,
        "priority": experiment.priority,
        "step": experiment.step,
        "total_steps": experiment.total_steps,
        "progress": experiment.progress,
        "created_at": iso_time(experiment.created_at),
        "started_at": iso_time(experiment.started_at),
        "ended_at": iso_time(experiment.ended_at),
        "heard_at": iso_time(experiment.heard_at),
        "hostfile": experiment.hostfile,
        "nodes": experiment.nodes,
        "hosts": list(experiment.hosts),
        "attempts": experiment.attempts,
        "parent": experiment.parent_id,
        "tags": list(experiment.tags),
        "note": experiment.note,
        "archived": experiment.archived_at is not None,
        "pinned": experiment.pinned_at is not None,
        "last": json_metrics(experiment.last),
        "reason": experiment.reason,
        "exit_code": experiment.exit_code,
    }
