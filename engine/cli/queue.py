"""`engine queue`: what runs, what waits and why, and which nodes are free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import duration, print_json, say, table
from engine.cli.settings import Settings, global_options, pass_settings
from engine.telemetry.json_values import iso_time
from engine.telemetry.visible import visible

if TYPE_CHECKING:
    from engine.dispatch.survey import Machine, Survey


@click.command()
@global_options
@pass_settings
def queue(settings: Settings) -> None:
    """What runs, what waits and why, in the order of their turns; and which nodes are free."""
    from engine.dispatch.survey import SurveyReader

    survey = SurveyReader(settings.open_store()).read()
    if settings.json:
        print_json(_document(survey))
        return
    if not survey.running and not survey.waiting:
        say(settings, "Nothing runs and nothing waits. engine launch FILE starts something.")
    rows = [
        [
            "",
            each.experiment.id,
            each.experiment.name,
            each.experiment.state,
            str(each.experiment.priority),
            duration(None if each.ends_at is None else each.ends_at - survey.at),
            each.where,
        ]
        for each in survey.running
    ]
    rows += [
        [
            str(each.place),
            each.experiment.id,
            each.experiment.name,
            each.experiment.state,
            str(each.experiment.priority),
            "–",
            visible(each.why),
        ]
        for each in survey.waiting
    ]
    if rows:
        click.echo(table(["TURN", "ID", "NAME", "STATE", "PRIO", "LEFT", "WHERE, OR WHY NOT"], rows, right=(0, 4, 5)))
        click.echo()
    if survey.machines:
        nodes = [[each.host, f"{each.free} of {len(each.holders)}", _told(each)] for each in survey.machines]
        click.echo(table(["NODE", "FREE", "HELD BY"], nodes))


def _told(machine: Machine) -> str:
    if machine.drained:
        return "drained"
    return machine.problem or ", ".join(dict.fromkeys(filter(None, machine.holders)))


def _document(survey: Survey) -> dict[str, Any]:
    return {
        "running": [
            {
                "id": each.experiment.id,
                "name": each.experiment.name,
                "state": each.experiment.state,
                "priority": each.experiment.priority,
                "hosts": list(each.hosts),
                "slots": sum(map(len, each.slots.values())),
                "ends_at": iso_time(each.ends_at),
            }
            for each in survey.running
        ],
        "waiting": [
            {
                "id": each.experiment.id,
                "name": each.experiment.name,
                "place": each.place,
                "priority": each.experiment.priority,
                "needs": each.needs or None,
                "after": list(each.parents),
                "why": each.why,
            }
            for each in survey.waiting
        ],
        "nodes": [
            {
                "host": each.host,
                "slots": len(each.holders),
                "free": each.free,
                "drained": each.drained,
                "problem": each.problem,
                "held_by": list(dict.fromkeys(filter(None, each.holders))),
            }
            for each in survey.machines
        ],
        "pipelines": {
            launch: {stage.name: {"id": stage.experiment.id, "state": stage.experiment.state} for stage in stages}
            for launch, stages in survey.launches.items()
        },
    }
