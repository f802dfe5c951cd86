"""`engine compare`: experiments side by side, differences first."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.output import json_number, number, print_json, table
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import InvalidInput


@click.command()
@click.argument("references", metavar="EXP EXP…", nargs=-1, required=True)
@click.option("--config", "only", flag_value="config", help="The specs only.")
@click.option("--metrics", "only", flag_value="metrics", help="The last metrics only.")
@click.option("--samples", "only", flag_value="samples", help="The last samples only.")
@click.option("--all", "everything", is_flag=True, help="Also the keys that are equal.")
@global_options
@pass_settings
def compare(settings: Settings, references: tuple[str, ...], only: str | None, everything: bool) -> None:
    """Specs, last metrics and samples side by side."""
    from engine.spec.canonical import flatten
    from engine.store import experiments, series
    from engine.store.samples import list_samples

    if len(references) < 2:
        raise InvalidInput("compare takes two experiments or more.")
    store = settings.open_store()
    ids = [experiments.resolve(store, reference) for reference in references]
    flat = [flatten(experiments.get_spec(store, identity)) for identity in ids]
    config: dict[str, list[Any]] = {}
    for key in dict.fromkeys(key for spec in flat for key in spec):
        values = [spec.get(key) for spec in flat]
        if everything or any(value != values[0] for value in values):
            config[key] = values
    lasts = [series.last(store, identity) for identity in ids]
    metrics = {
        name: [last[name][1] if name in last else None for last in lasts]
        for name in sorted({name for last in lasts for name in last})
    }
    by_prompt: dict[str, list[str | None]] = {}
    for column, identity in enumerate(ids):
        for sample in list_samples(store, identity):
            by_prompt.setdefault(sample.prompt, [None] * len(ids))[column] = sample.response
    if settings.json:
        print_json(
            {
                "experiments": ids,
                "config": config,
                "metrics": {name: [json_number(value) for value in values] for name, values in metrics.items()},
                "samples": [{"prompt": prompt, "responses": responses} for prompt, responses in by_prompt.items()],
            }
        )
        return
    numeric = range(1, len(ids) + 1)
    if only in (None, "config"):
        rows = [[key, *("–" if value is None else str(value) for value in values)] for key, values in config.items()]
        click.echo(table(["SPEC", *ids], rows) if rows else "The specs are equal.")
    if only in (None, "metrics"):
        rows = [[name, *(number(value) for value in values)] for name, values in metrics.items()]
        click.echo(("\n" if only is None else "") + table(["METRIC", *ids], rows, right=numeric))
    if only == "samples":
        rows = [[prompt, *(text or "–" for text in responses)] for prompt, responses in by_prompt.items()]
        click.echo(table(["PROMPT", *ids], rows))
