"""`engine export`: bring back what an experiment made: its model, its run directory, or its numbers as files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import print_json, say
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from engine.cluster.distribution import Progress, Report
    from engine.cluster.hostfile import Node
    from engine.cluster.retrieval import Brought, Source
    from engine.store.database import Store

_RUN, _CHECKPOINTS = "run", "checkpoints"


@click.command()
@click.argument("reference", metavar="EXP")
@click.option("--to", "folder", required=True, type=click.Path(path_type=Path), help="The folder that it goes to.")
@click.option(
    "--what",
    metavar="WHAT",
    help="model, reward_model, policy, checkpoints or run (default: the artifact that was made last).",
)
@click.option("--all-shards", is_flag=True, help="What each node has, in FOLDER/node-K (with checkpoints, run).")
@click.option(
    "--format",
    "style",
    type=click.Choice(["hf", "csv", "jsonl", "html"]),
    default="hf",
    show_default=True,
    help="hf: files as they are; csv, jsonl: metrics and samples out of the database; html: a page of it, EXP.html.",
)
@global_options
@pass_settings
def export(settings: Settings, reference: str, *, folder: Path, what: str | None, all_shards: bool, style: str) -> None:
    """Copy what EXP made into a folder of this machine."""
    from engine.store import experiments

    store = settings.open_store()
    identity = experiments.resolve(store, reference)
    folder = folder.expanduser().absolute()
    if style != "hf":
        if what is not None or all_shards:
            raise InvalidInput(f"--format {style} reads the database alone, and takes neither --what nor --all-shards.")
        from engine.cli.export_numbers import write_numbers, write_page

        if style == "html":
            written = [write_page(store, identity, folder)]
        else:
            written = write_numbers(store, identity, folder, style)
        document: dict[str, Any] = {"id": identity, "to": str(folder), "files": written}
        told = f"{' and '.join(written)} {'is' if len(written) == 1 else 'are'} in {folder}."
    elif all_shards:
        brought = _bring_shards(settings, store, identity, what or _RUN, folder)
        document = {"id": identity, "to": str(folder), "nodes": {name: _facts(each) for name, each in brought.items()}}
        told = f"{', '.join(brought)} are in {folder}."
    else:
        path, sha256 = _wanted(store, identity, what)
        with _source(_homes(store, identity), path) as source, _progress(settings) as report:
            from engine.cluster.retrieval import bring

            one = bring(source, folder, report, sha256=sha256)
        document = {"id": identity, "to": str(folder), "path": path, **_facts(one)}
        told = f"{path} is in {folder}: {_words(one)}."
    if settings.json:
        print_json(document)
    else:
        say(settings, told)


def _wanted(store: Store, identity: str, what: str | None) -> tuple[str, str | None]:
    """Return the path on the nodes of what is wanted, and its SHA-256 if it was written down."""
    from engine.store import facts

    if what in (_RUN, _CHECKPOINTS):
        return _below_run(store, identity, what), None
    made = facts.artifacts(store, identity)
    chosen = [artifact for artifact in made if what is None or artifact.kind == what]
    if not chosen:
        kinds = ", ".join(dict.fromkeys(artifact.kind for artifact in made))
        has = f"it has {kinds}" if kinds else "it has made nothing yet"
        hint = None if kinds else f"Its checkpoints: engine export {identity} --to FOLDER --what {_CHECKPOINTS}."
        raise NotFound(f"{identity} has no {what or 'artifact'}: {has}.", hint=hint)
    newest = max(chosen, key=lambda artifact: artifact.created_at)
    return newest.path, newest.sha256


def _below_run(store: Store, identity: str, what: str) -> str:
    from engine.store import attempts

    launched = attempts.list_attempts(store, identity)
    if not launched:
        raise NotFound(f"{identity} has not been started.")
    run_dir = launched[-1].run_dir
    return run_dir if what == _RUN else f"{run_dir}/{_CHECKPOINTS}"


def _homes(store: Store, identity: str) -> list[Node]:
    """Return the nodes of its last attempt. Raises NotFound if there was none."""
    from engine.dispatch.homes import homes

    found = homes(store, identity)
    if not found:
        raise NotFound(f"{identity} has not been started.")
    return found


@contextmanager
def _source(nodes: Sequence[Node], path: str) -> Iterator[Source]:
    """Look at what is to be brought on node 0, where rank 0 wrote it."""
    from engine.cluster.retrieval import open_source

    source = open_source(nodes[0], path)
    with source.session:
        yield source


def _bring_shards(settings: Settings, store: Store, identity: str, what: str, folder: Path) -> dict[str, Brought]:
    """Bring what every node has; what several of them see alike is brought once, under the first one's number."""
    from engine.cluster.retrieval import bring, open_source

    if what not in (_RUN, _CHECKPOINTS):
        raise InvalidInput(f"--all-shards goes with --what {_CHECKPOINTS} or {_RUN}; {what} is whole on one node.")
    path, nodes = _below_run(store, identity, what), _homes(store, identity)
    with ExitStack() as opened, ThreadPoolExecutor(8) as pool, _progress(settings) as report:
        views: dict[str, tuple[str, Source]] = {}
        for index, source in enumerate(pool.map(lambda node: open_source(node, path), nodes)):
            opened.enter_context(source.session)
            views.setdefault(source.stamp, (f"node-{index}", source))
        started = {name: pool.submit(bring, source, folder / name, report) for name, source in views.values()}
        return {name: brought.result() for name, brought in started.items()}


@contextmanager
def _progress(settings: Settings) -> Iterator[Report]:
    """Show progress in one line of a terminal."""
    shown = not settings.quiet and not settings.json and sys.stderr.isatty()

    def report(progress: Progress) -> None:
        if shown:
            click.echo(f"\r\033[K{progress.sentence()}", err=True, nl=False)

    try:
        yield report
    finally:
        if shown:
            click.echo("\r\033[K", err=True, nl=False)


def _facts(brought: Brought) -> dict[str, Any]:
    return {
        "files": brought.files,
        "bytes": brought.size,
        "copied_bytes": brought.copied,
        "sha256": brought.sha256,
    }


def _words(brought: Brought) -> str:
    from engine.plan.sizes import in_words

    files = "1 file" if brought.files == 1 else f"{brought.files} files"
    there = "" if brought.copied == brought.size else f", of which {in_words(brought.copied)} were missing"
    return f"{files}, {in_words(brought.size)}{there}, SHA-256 {brought.sha256[:12]}"
