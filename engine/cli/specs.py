"""`engine new` and `engine validate`: specs and hostfiles, before anything runs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.output import print_json
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import InvalidInput, PlumblineError

if TYPE_CHECKING:
    from engine.spec.models import AnySpec


@click.command()
@click.argument("kind")
@click.option("--from", "source", metavar="EXP|RECIPE", help="Begin with an experiment's spec, or a recipe file.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it here.")
@global_options
@pass_settings
def new(settings: Settings, kind: str, source: str | None, overrides: tuple[str, ...], output: Path | None) -> None:
    """Print a complete, commented, valid spec of KIND (sft, rm, ppo, rag, eval, sim), or a pipeline of specs."""
    from engine.spec import canonical, template

    if kind == "pipeline":
        if source is not None or overrides:
            raise InvalidInput("a new pipeline is one to edit: it is made from nothing, and nothing of it is set.")
        text = template.NEW_PIPELINE
    elif source is None:
        text = template.new_spec(kind, overrides)
    else:
        spec = _spec_from(settings, source, overrides)
        if spec.kind != kind:
            raise InvalidInput(f"is of kind {spec.kind}, not {kind}.", where=source)
        text = canonical.to_yaml(spec, comments=True)
    write_or_print(text, output)


def _spec_from(settings: Settings, source: str, overrides: tuple[str, ...]) -> AnySpec:
    from engine.spec.canonical import to_yaml
    from engine.spec.loading import load_spec, parse_spec

    if Path(source).suffix in (".yaml", ".yml"):
        return load_spec(Path(source), overrides)
    from engine.store import experiments
    from engine.store.clones import spec_to_edit

    store = settings.open_store()
    return parse_spec(to_yaml(spec_to_edit(store, experiments.resolve(store, source))), source, overrides)


def write_or_print(text: str, output: Path | None) -> None:
    """Write the text to a new file, or to stdout. Raises InvalidInput where the file exists."""
    if output is None:
        click.echo(text, nl=not text.endswith("\n"))
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InvalidInput("exists already.", hint="Name another file.", where=str(output)) from None
    except OSError as error:
        raise InvalidInput(f"cannot be written: {error.strerror}.", where=str(output)) from error


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key before checking.")
@global_options
@pass_settings
def validate(settings: Settings, files: tuple[Path, ...], overrides: tuple[str, ...]) -> int:
    """Check specs and pipelines (.yaml), hostfiles and data files; name line, key and nearest valid key."""
    results = []
    for file in files:
        try:
            what = _validate(file, overrides)
        except PlumblineError as error:
            results.append(
                {"file": str(file), "valid": False, "error": error.message, "hint": error.hint, "where": error.where}
            )
            if not settings.json:
                click.echo(f"error: {error}", err=True)
        else:
            results.append({"file": str(file), "valid": True, "what": what})
            if not settings.json:
                click.echo(f"{file}: valid {what}")
    if settings.json:
        print_json(results)
    return 0 if all(result["valid"] for result in results) else InvalidInput.exit_code


def _validate(file: Path, overrides: tuple[str, ...]) -> str:
    if not file.exists():
        raise InvalidInput("there is no such file.", where=str(file))
    if file.suffix in (".yaml", ".yml"):
        from engine.spec.loading import load_spec
        from engine.spec.pipeline import load_pipeline, names_pipeline

        if names_pipeline(file):
            pipeline = load_pipeline(file, overrides)
            names = [stage.name for stage in pipeline.stages]
            specs = [stage.spec for stage in pipeline.stages if stage.spec is not None]
            return f"pipeline of {', '.join(names)}{_taking(*specs, but=names)}"
        spec = load_spec(file, overrides)
        return f"{spec.kind} spec{_taking(spec)}"
    if file.suffix in (".jsonl", ".csv", ".parquet") or file.is_dir():
        from engine.data.sources import count_rows

        return f"data, {count_rows(file)} rows"
    from engine.cluster.hostfile import load_hostfile

    hostfile = load_hostfile(file)
    nodes, slots = len(hostfile.nodes), sum(node.slots for node in hostfile.nodes)
    return f"hostfile, {nodes} node{'s' if nodes != 1 else ''}, {slots} slot{'s' if slots != 1 else ''}"


def _taking(*specs: AnySpec, but: Collection[str] = ()) -> str:
    """Say what specs take from experiments. but: names in references that are no experiments yet."""
    from engine.spec.references import references_of

    found = (reference for spec in specs for reference in references_of(spec).values())
    taken = dict.fromkeys(reference.text for reference in found if reference.name not in but)
    return f" that takes {', '.join(taken)}" if taken else ""
