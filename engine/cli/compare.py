"""`engine compare`: experiments side by side, differences first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import number, print_json, say, table
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import InvalidInput
from engine.telemetry.json_values import json_number

if TYPE_CHECKING:
    from engine.store.database import Store


@click.command()
@click.argument("references", metavar="EXP EXP…", nargs=-1, required=True)
@click.option("--config", "only", flag_value="config", help="The specs only.")
@click.option("--metrics", "only", flag_value="metrics", help="The last metrics only.")
@click.option("--samples", "only", flag_value="samples", help="The last samples only.")
@click.option("--all", "everything", is_flag=True, help="Also the keys that are equal.")
@click.option(
    "-o",
    "--output",
    metavar="FILE.html",
    type=click.Path(path_type=Path),
    help="Write a page that holds everything: curves, specs, last values, answers side by side. EXP may be one alone.",
)
@click.option("--force", is_flag=True, help="Write over another FILE.")
@global_options
@pass_settings
def compare(
    settings: Settings,
    references: tuple[str, ...],
    *,
    only: str | None,
    everything: bool,
    output: Path | None,
    force: bool,
) -> None:
    """Specs, last metrics and samples side by side; the first one is the baseline."""
    from engine.spec.canonical import flatten
    from engine.store import experiments, series
    from engine.store.samples import list_samples

    if output is None and len(references) < 2:
        raise InvalidInput("compare takes two experiments or more.")
    store = settings.open_store()
    ids = [experiments.resolve(store, reference) for reference in references]
    if output is not None:
        if only is not None or everything:
            raise InvalidInput("A page has all parts: -o takes none of --config, --metrics, --samples, --all.")
        _write_page(settings, store, ids, output, force)
        return
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


def _write_page(settings: Settings, store: Store, ids: Sequence[str], output: Path, force: bool) -> None:
    from engine.report.comparing.building import build
    from engine.report.comparing.page import to_html
    from engine.report.written import style_of, write_file

    style_of(output, ("html",))
    made = build(store, ids)
    write_file(output.expanduser(), to_html(made), over=force)
    if settings.json:
        print_json({"path": str(output), "experiments": list(ids), "notes": list(made.notes)})
        return
    for note in made.notes:
        say(settings, note)
    say(settings, f"{output} tells all of {', '.join(ids)}.")
