"""`engine metrics` and `engine samples`: what an experiment measured, and what its model wrote."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import in_order, number, print_json, table
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import InvalidInput
from engine.telemetry.json_values import iso_time, json_metrics, json_number
from engine.telemetry.visible import visible

if TYPE_CHECKING:
    from engine.store.samples import Sample


@click.command()
@click.argument("reference", metavar="EXP")
@click.option("--name", "names", multiple=True, help="A metric (default: all).")
@click.option("--last", is_flag=True, help="The last value of each only.")
@click.option("--format", "style", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@global_options
@pass_settings
def metrics(settings: Settings, reference: str, names: tuple[str, ...], last: bool, style: str) -> None:
    """What it measured, one point per logged step."""
    from engine.store import experiments, series
    from engine.telemetry.metrics import unit_of

    store = settings.open_store()
    identity = experiments.resolve(store, reference)
    known = [info.name for info in series.names(store, identity)]
    for name in names:
        if name not in known:
            raise InvalidInput(f"{identity} has no metric {name}.", hint=f"It has: {', '.join(known) or 'none yet'}.")
    chosen = list(names) or known
    as_json = settings.json or style == "json"
    if last:
        values = {name: pair for name, pair in series.last(store, identity).items() if name in chosen}
        if as_json:
            step = experiments.get(store, identity).step
            metrics_now = {name: value for name, (_, value) in values.items()}
            print_json({"id": identity, "step": step, "metrics": json_metrics(metrics_now)})
        else:
            rows = [
                [name, number(values[name][1]), unit_of(name) or "", str(values[name][0])] for name in in_order(values)
            ]
            click.echo(table(["METRIC", "VALUE", "UNIT", "STEP"], rows, right=(1, 3)))
        return
    read = {name: series.read(store, identity, name) for name in (chosen if names else in_order(chosen))}
    if as_json:
        document: dict[str, dict[str, Any]] = {}
        for name, points in read.items():
            document[name] = {
                "unit": unit_of(name),
                "step": list(points.step),
                "time": [iso_time(time) for time in points.time],
                "value": [json_number(value) for value in points.value],
            }
            lost = {
                str(step): str(value)
                for step, value in zip(points.step, points.value, strict=True)
                if json_number(value) is None
            }
            if lost:
                document[name]["nonfinite"] = lost
        print_json({"id": identity, "series": document})
        return
    if style == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(["name", "step", "time", "value"])
        for name, points in read.items():
            for step, time, value in zip(points.step, points.time, points.value, strict=True):
                writer.writerow([name, step, iso_time(time), value])
        return
    rows = []
    for name, points in read.items():
        finite = [value for value in points.value if json_number(value) is not None]
        rows.append(
            [
                name,
                unit_of(name) or "",
                str(len(points.step)),
                number(points.value[0] if points.value else None),
                number(points.value[-1] if points.value else None),
                number(min(finite, default=None)),
                number(max(finite, default=None)),
            ]
        )
    click.echo(table(["METRIC", "UNIT", "POINTS", "FIRST", "LAST", "LEAST", "MOST"], rows, right=(2, 3, 4, 5, 6)))


def sample_document(sample: Sample) -> dict[str, Any]:
    """Return a sample as `engine samples --json` prints it."""
    return {
        "step": sample.step,
        "attempt": sample.attempt,
        "time": iso_time(sample.time),
        "prompt": sample.prompt,
        "response": sample.response,
        "reference": sample.reference,
        "scores": json_metrics(sample.scores),
    }


@click.command()
@click.argument("reference", metavar="EXP")
@click.option("--step", type=int, help="Those of one step (default: all).")
@global_options
@pass_settings
def samples(settings: Settings, reference: str, step: int | None) -> None:
    """What its model wrote, with the prompts and scores."""
    from engine.store import experiments
    from engine.store.samples import list_samples

    store = settings.open_store()
    identity = experiments.resolve(store, reference)
    found = list_samples(store, identity, step)
    if settings.json:
        print_json([sample_document(sample) for sample in found])
        return
    for sample in found:
        click.echo(f"step {sample.step}")
        for label, text in (("prompt", sample.prompt), ("response", sample.response), ("reference", sample.reference)):
            if text is not None:
                click.echo(f"  {label:<10}{visible(text)}")
        if sample.scores:
            scores = "  ".join(f"{visible(name)} {number(value)}" for name, value in sample.scores.items())
            click.echo(f"  {'scores':<10}{scores}")
