"""`engine ls`, `stop`, `resume`, `clone`: experiments, and what a person wants of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.output import duration, headline, print_json, say, table
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import Refused
from engine.report.listing.documents import as_document
from engine.telemetry.states import Desired, State
from engine.telemetry.visible import visible

if TYPE_CHECKING:
    from engine.spec.models import AnySpec
    from engine.store.database import Store
    from engine.store.inputs import Input


@click.command()
@click.option(
    "--filter", "expression", default="", metavar="EXPR", help="Terms like kind:ppo 'last.score>2' -tag:x age<7d word."
)
@click.option(
    "--sort",
    default="-created",
    show_default=True,
    metavar="KEY",
    help="A key, a metric or spec.KEY; a leading - turns it round.",
)
@click.option("--all", "archived", is_flag=True, help="Archived ones, too.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the list into a file: .csv, .json, or .html, a page that holds everything.",
)
@click.option("--force", is_flag=True, help="Write over another FILE.")
@global_options
@pass_settings
def ls(settings: Settings, *, expression: str, sort: str, archived: bool, output: Path | None, force: bool) -> None:
    """List the experiments, pinned ones first."""
    from engine.store import experiments
    from engine.store.bests import Bests
    from engine.store.filtering.keys import best_metrics
    from engine.store.filtering.selecting import Filter
    from engine.store.ordering import ordered
    from engine.store.spec_values import spec_values

    store = settings.open_store()
    chosen, now = Filter(expression), time.time()
    listed = experiments.list_experiments(store, archived=archived or chosen.tells_archived)
    found = Bests(store).into(listed, best_metrics(expression, sort))
    needed = chosen.uses_specs or "spec." in sort
    specs = spec_values(store, [one.id for one in found]) if needed else {}
    selected = ordered(chosen.select(found, specs, now=now), sort, specs=specs, now=now)
    if output is not None:
        from engine.report.listing.files import STYLES, written
        from engine.report.written import style_of, write_file

        style = style_of(output, STYLES)
        write_file(output.expanduser(), written(store, style, selected, expression), over=force)
        if settings.json:
            print_json({"path": str(output), "format": style, "experiments": [one.id for one in selected]})
        else:
            say(settings, f"{output} has {len(selected)} experiment{'s' if len(selected) != 1 else ''}.")
        return
    if settings.json:
        print_json([as_document(experiment) for experiment in selected])
        return
    if not selected:
        say(settings, "No experiments. engine launch FILE starts one.")
        return
    rows = [
        [
            experiment.id,
            experiment.name,
            experiment.state,
            f"{experiment.step}/{experiment.total_steps or '–'}",
            headline(experiment),
            duration(now - experiment.created_at),
            " ".join(experiment.tags),
            visible(experiment.reason or ""),
        ]
        for experiment in selected
    ]
    columns = ["ID", "NAME", "STATE", "STEP", "LAST", "AGE", "TAGS", "WHY"]
    if not any(experiment.reason for experiment in selected):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    click.echo(table(columns, rows, right=(3, 5)))


@click.command()
@click.argument("references", metavar="EXP…", nargs=-1, required=True)
@click.option("--now", is_flag=True, help="At once, without a checkpoint.")
@global_options
@pass_settings
def stop(settings: Settings, references: tuple[str, ...], now: bool) -> None:
    """Stop at the end of the step, with a checkpoint; or at once. Of a pipeline, all that has not ended."""
    from engine.dispatch.lifecycle import ensure_running
    from engine.store import experiments

    store = settings.open_store()
    ids = _each(store, references, lambda state: not state.ended, "has no stage that has not ended")
    # What comes after others first: it is stopped, not given up since its parent was.
    for identity in reversed(ids):
        experiments.set_desired(store, identity, Desired.STOP_NOW if now else Desired.STOP)
    ensure_running(settings.database)
    if settings.json:
        print_json([{"id": identity} for identity in ids])
    else:
        click.echo("\n".join(ids))


@click.command()
@click.argument("references", metavar="EXP…", nargs=-1, required=True)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the spec.")
@global_options
@pass_settings
def resume(settings: Settings, references: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    """Begin a new attempt, from the last good checkpoint. Of a pipeline, all that ended without success."""
    from engine.dispatch.lifecycle import ensure_running
    from engine.store import experiments

    store = settings.open_store()
    ids = _each(store, references, lambda state: state.ended_badly, "has no stage that failed or was stopped")
    given = _settings_of_each(store, references, overrides)
    changed = {identity: _changed(settings, store, identity, each) for identity, each in given.items() if each}
    # What comes after others first: with these it is queued again in any case.
    for identity in reversed(ids):
        spec, inputs = changed.get(identity, (None, ()))
        others = [other for other in experiments.resume(store, identity, spec, inputs) if other not in ids]
        if others:
            say(settings, f"{' and '.join(others)}, which never began for want of {identity}, will begin after it.")
    ensure_running(settings.database)
    if settings.json:
        print_json([{"id": identity} for identity in ids])
    else:
        click.echo("\n".join(ids))


@click.command()
@click.argument("reference", metavar="EXP")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it here.")
@global_options
@pass_settings
def clone(settings: Settings, reference: str, output: Path | None) -> None:
    """Print an experiment's spec, to edit and launch again."""
    from engine.cli.specs import write_or_print
    from engine.spec.canonical import to_yaml
    from engine.store import experiments
    from engine.store.clones import spec_to_edit

    store = settings.open_store()
    write_or_print(to_yaml(spec_to_edit(store, experiments.resolve(store, reference)), comments=True), output)


def _each(store: Store, references: Sequence[str], concerns: Callable[[State], bool], otherwise: str) -> list[str]:
    """Return the experiments that references mean; of a pipeline those that are concerned, parents first.

    otherwise: said of a pipeline of which none is.
    """
    from engine.store import experiments, pipelines

    found: list[str] = []
    for reference in references:
        launch = pipelines.launch_meant(store, reference)
        if launch is None:
            found.append(experiments.resolve(store, reference))
            continue
        concerned = [each for each in launch.stages.values() if concerns(experiments.get(store, each).state)]
        if not concerned:
            raise Refused(f"{launch} {otherwise}.")
        found += concerned
    return list(dict.fromkeys(found))


def _settings_of_each(store: Store, references: Sequence[str], overrides: Sequence[str]) -> dict[str, list[str]]:
    """Return which settings are for which of the experiments that are resumed. Raises Refused for one that is not."""
    from engine.spec.document import set_option
    from engine.spec.models import Kind
    from engine.spec.pipeline import deal
    from engine.store import experiments, pipelines

    given: dict[str, list[str]] = {}
    for reference in references:
        launch = pipelines.launch_meant(store, reference)
        if launch is None:
            given.setdefault(experiments.resolve(store, reference), []).extend(overrides)
            continue
        known = {stage: experiments.get(store, identity) for stage, identity in launch.stages.items()}
        dealt = deal(overrides, {stage: Kind(each.kind) for stage, each in known.items()})
        for stage, each in known.items():
            if each.state.ended_badly:
                given.setdefault(each.id, []).extend(setting for setting, _ in dealt[stage])
            elif own := [whole for setting, whole in dealt[stage] if setting != whole]:
                raise Refused(
                    f"stage {stage} of {launch} is {each.state}: it is not resumed.", where=set_option(own[0])
                )
    return given


def _changed(
    settings: Settings, store: Store, identity: str, overrides: Sequence[str]
) -> tuple[AnySpec, Sequence[Input]]:
    """Return the spec of an experiment with settings over it, and what it newly takes from others."""
    from engine.cluster.hostfile import local_hostfile, parse_hostfile
    from engine.dispatch.readiness import looked_up
    from engine.spec.loading import parse_spec
    from engine.spec.resolve import with_absolute_paths
    from engine.store import experiments
    from engine.store.dependents import parents_of
    from engine.store.inputs import inputs_of

    text = experiments.spec_text(store, identity)
    on_nodes = {taken.input.path for taken in inputs_of(store, identity)}
    spec = with_absolute_paths(parse_spec(text, identity, overrides), Path.cwd(), but=on_nodes)
    hosts_text = experiments.hostfile_text(store, identity)
    hosts = local_hostfile() if hosts_text is None else parse_hostfile(hosts_text, identity)
    unmade = [parent for parent, state in parents_of(store, identity).items() if state is not State.SUCCEEDED]
    return looked_up(settings.records, spec, hosts, where=identity, unmade=unmade)
