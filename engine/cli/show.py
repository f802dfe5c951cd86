"""`engine show`: one experiment, whole."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import in_order, number, print_json, table
from engine.cli.settings import Settings, global_options, pass_settings
from engine.report.listing.documents import as_document
from engine.telemetry.json_values import iso_time
from engine.telemetry.visible import visible

if TYPE_CHECKING:
    from engine.store.attempts import Contact

_LAST_LINES = 24  # of the log of a rank that failed


def _times_as_text(document: dict[str, Any]) -> dict[str, Any]:
    return {key: iso_time(value) if key == "time" or key.endswith("_at") else value for key, value in document.items()}


@click.command()
@click.argument("reference", metavar="EXP")
@global_options
@pass_settings
def show(settings: Settings, reference: str) -> None:
    """Spec, health, attempts, lineage, artifacts, events and last metrics of one experiment."""
    from engine.cli.index_measures import measure_document, measures_table
    from engine.spec.canonical import flatten
    from engine.spec.resolve import paths_by_key
    from engine.store import attempts, events, experiments, facts, index_measures, series
    from engine.store.inputs import inputs_of, users_of
    from engine.store.verdicts import read_verdicts
    from engine.telemetry.metrics import unit_of

    store = settings.open_store()
    identity = experiments.resolve(store, reference)
    experiment = experiments.get(store, identity)
    spec_text = experiments.spec_text(store, identity)
    tried = [_times_as_text(dataclasses.asdict(attempt)) for attempt in attempts.list_attempts(store, identity)]
    happened = [_times_as_text(dataclasses.asdict(event)) for event in events.list_events(store, identity)]
    made = [_times_as_text(dataclasses.asdict(artifact)) for artifact in facts.artifacts(store, identity)]
    heard = attempts.contacts(store, identity)
    spec = experiments.get_spec(store, identity)
    keys: dict[str, list[str]] = {}
    for key, path in paths_by_key(spec).items():
        keys.setdefault(path, []).append(key)
    inputs, users = inputs_of(store, identity), users_of(store, identity)
    health = read_verdicts(store, identity, time.time())
    measures = index_measures.of_experiment(store, identity) if experiment.kind == "rag" else []
    if settings.json:
        document = as_document(experiment)
        document |= {
            "spec": spec_text,
            "spec_hash": experiment.spec_hash,
            "config": flatten(spec),
            "health": [dataclasses.asdict(verdict) for verdict in health],
            "attempts_list": tried,
            "contacts": [_times_as_text(dataclasses.asdict(contact)) for contact in heard],
            "artifacts": made,
            "inputs": [
                {**dataclasses.asdict(taken.input), "parent": taken.parent_name, "keys": keys.get(taken.input.path, [])}
                for taken in inputs
            ],
            "used_by": users,
            "events": happened,
        }
        if experiment.kind == "rag":
            document["index_measures"] = [measure_document(one) for one in measures]
        print_json(document)
        return
    facts_shown = [
        ("id", experiment.id),
        ("name", experiment.name),
        ("state", f"{experiment.state}{': ' + experiment.reason if experiment.reason else ''}"),
        ("step", f"{experiment.step}/{experiment.total_steps or '–'}"),
        ("created", iso_time(experiment.created_at) or ""),
        ("started", iso_time(experiment.started_at) or "–"),
        ("ended", iso_time(experiment.ended_at) or "–"),
        ("hostfile", experiment.hostfile or "this machine"),
        ("parent", experiment.parent_id or "–"),
        ("tags", " ".join(experiment.tags) or "–"),
        ("note", experiment.note or "–"),
        ("folder", str(store.runs_dir / identity)),
        *(
            ("from", f"{taken.input.made_by(taken.parent_name)}: {', '.join(keys.get(taken.input.path, []))}")
            for taken in inputs
        ),
        *((("used by", " ".join(users)),) if users else ()),
    ]
    for key, value in facts_shown:
        click.echo(f"{key:<10}{visible(value)}")
    for verdict in health:
        click.echo(f"{'health':<10}{verdict.level}: {visible(verdict.sentence)} ({visible(verdict.evidence)})")
    last = series.last(store, identity)
    if last:
        rows = [[name, number(last[name][1]), unit_of(name) or "", str(last[name][0])] for name in in_order(last)]
        click.echo("\n" + table(["METRIC", "LAST", "UNIT", "AT STEP"], rows, right=(1, 3)))
    if measures:
        click.echo("\n" + measures_table(measures))
    if tried:
        rows = [
            [str(attempt["number"]), str(attempt["state"]), str(attempt["resumed_step"] or 0), attempt["reason"] or ""]
            for attempt in tried
        ]
        click.echo("\n" + table(["ATTEMPT", "STATE", "FROM STEP", "REASON"], rows, right=(0, 2)))
    for line in _last_words(happened, heard, attempt=len(tried)):
        click.echo(line)
    if made:
        rows = [
            [str(item["kind"]), str(item["step"] or "–"), (item["sha256"] or "–")[:12], str(item["path"])]
            for item in made
        ]
        click.echo("\n" + table(["ARTIFACT", "STEP", "SHA-256", "PATH"], rows, right=(1,)))
    if happened:
        rows = [[str(event["time"]), str(event["event"]), str(event["message"])] for event in happened[-20:]]
        click.echo("\n" + table(["TIME", "EVENT", "MESSAGE"], rows))
    click.echo("\n" + spec_text.rstrip())


def _last_words(happened: Sequence[Mapping[str, Any]], heard: Sequence[Contact], *, attempt: int) -> Iterator[str]:
    """Yield what the nodes of the last attempt said last: the ends of logs of ranks that failed, and silences."""
    for event in happened:
        if event["event"] == "rank_failed" and event["attempt"] == attempt:
            yield f"\nLAST WORDS of rank {event['data'].get('rank')} on {visible(str(event['data'].get('host')))}"
            for line in str(event["data"].get("log") or "").splitlines()[-_LAST_LINES:]:
                yield f"  {visible(line)}"
    for contact in heard:
        if contact.attempt == attempt and contact.message is not None:
            yield f"\n{visible(contact.host)} is silent: {visible(contact.message)}"
        if not contact.cleared:
            where = f"Something of attempt {contact.attempt} may still live on {visible(contact.host)}"
            yield f"\n{where}; it is ended as soon as the node answers."
