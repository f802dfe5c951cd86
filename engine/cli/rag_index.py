"""`engine rag ls|show|verify|update`: indexes looked at, checked and changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import number, print_json, say, table
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import InvalidInput, RunFailed
from engine.telemetry.json_values import json_metrics
from engine.telemetry.visible import visible

if TYPE_CHECKING:
    from engine.rag.manifest import Manifest
    from engine.rag.updating import Updated

_REJECTS_SHOWN = 20


@click.command()
@global_options
@pass_settings
def ls(settings: Settings) -> None:
    """The indexes that experiments have made, the newest first."""
    from engine.rag.builds import list_builds

    found = [(build.experiment, build.path) for build in list_builds(settings.open_store())]
    if settings.json:
        print_json(
            [
                {"id": one.id, "name": one.name, "state": one.state, "path": path, "last": json_metrics(one.last)}
                for one, path in found
            ]
        )
        return
    rows = [
        [one.id, one.name, one.state, _count(one.last, "chunks"), number(one.last.get("recall@5")), path or "–"]
        for one, path in found
    ]
    click.echo(table(["ID", "NAME", "STATE", "CHUNKS", "RECALL@5", "INDEX"], rows, right=(3, 4)))


def _count(last: Mapping[str, float], name: str) -> str:
    return f"{last[name]:,.0f}" if name in last else "–"


@click.command()
@click.argument("index")
@click.option("--rejects", is_flag=True, help="Also what was left out, and why.")
@global_options
@pass_settings
def show(settings: Settings, index: str, rejects: bool) -> None:
    """What INDEX (a folder or an experiment) holds, and what made it."""
    from engine.cli.index_measures import measure_document, measures_of, measures_table
    from engine.cli.indexes import find_index
    from engine.job.durable import files_below
    from engine.rag.chunks.rejects import read_rejects
    from engine.rag.manifest import read_manifest

    found = find_index(settings, index)
    manifest = read_manifest(found.folder)
    size = sum(file.stat().st_size for file in files_below(found.folder))
    left_out = read_rejects(found.folder / manifest.names().rejects)
    measures = measures_of(settings, found)
    if settings.json:
        rejected = [asdict(one) for one in left_out]
        measured = [measure_document(one) for one in measures]
        document = {"index": str(found.folder), "bytes": size, "rejects": rejected, "measures": measured}
        print_json({**document, **asdict(manifest)})
        return
    click.echo(table(["INDEX", str(found.folder)], _facts(manifest, size)))
    if measures:
        click.echo("\n" + measures_table(measures))
    if rejects and left_out:
        click.echo()
        click.echo(table(["LEFT OUT", "IT"], [[one.place, one.reason] for one in left_out]))
    elif left_out:
        say(settings, f"{len(left_out)} inputs were left out; --rejects shows them.")


def _facts(manifest: Manifest, size: int) -> list[list[str]]:
    from engine.plan.sizes import in_words

    counts, used, vectors = manifest.counts, manifest.embedder, manifest.vectors
    rows = [
        ["documents", f"{counts.documents:,}"],
        [
            "chunks",
            f"{counts.chunks - counts.removed:,}" + (f" and {counts.removed:,} removed" if counts.removed else ""),
        ],
        ["left out", f"{counts.rejected:,} inputs, {counts.duplicates:,} copies"],
        ["size", in_words(size)],
    ]
    if used is not None:
        cut = f"; cuts {counts.truncated:,} chunks" if counts.truncated else ""
        rows.append(
            ["embedder", f"{used.name}, {used.dimension} dimensions, {used.precision}, {used.fingerprint[:12]}{cut}"]
        )
    if vectors is not None:
        rows.append(["vectors", f"{vectors.factory}: {vectors.reason}"])
        if vectors.recall_at_10 is not None:
            rows.append(["finds", f"{vectors.recall_at_10:.1%} of the 10 nearest"])
    rows.append(["words", "BM25" if manifest.lexical else "not indexed"])
    return rows


@click.command()
@click.argument("index")
@global_options
@pass_settings
def verify(settings: Settings, index: str) -> None:
    """Hash all files of INDEX again, and open it."""
    from engine.cli.indexes import find_index
    from engine.rag.manifest import verify as hash_again
    from engine.rag.opening import open_index

    found = find_index(settings, index)
    try:
        problems = hash_again(found.folder)
        if not problems:
            open_index(found.folder)
    except InvalidInput as error:
        problems = [f"{error.where}: {error.message}"]
    if settings.json:
        print_json({"index": str(found.folder), "intact": not problems, "problems": problems})
    elif not problems:
        click.echo(f"{found.folder} is as it was written.")
    if problems:
        raise RunFailed(
            f"is damaged: {' '.join(map(visible, problems))}", hint="Build it again.", where=str(found.folder)
        )


@click.command()
@click.argument("index", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--add", type=click.Path(exists=True, path_type=Path), help="Documents to take in; equal ids replace.")
@click.option("--remove", multiple=True, metavar="DOCUMENT", help="Id of a document to take out.")
@click.option("--embedder", type=click.Path(path_type=Path), help="Folder of its embedder, if it was moved.")
@click.option("--compact", is_flag=True, help="Write it anew without what was removed.")
@global_options
@pass_settings
def update(
    settings: Settings, *, index: Path, add: Path | None, remove: tuple[str, ...], embedder: Path | None, compact: bool
) -> None:
    """Add, replace and remove documents of the index in the folder INDEX, embedding only what is new."""
    from engine.rag.embedding import environment

    if add is None and not remove and not compact:
        raise click.UsageError("give --add, --remove or --compact.")
    environment.prepare()

    from engine.rag.updating import update as change

    updated = change(index, add=add, remove=remove, embedder=embedder, compact=compact)
    if settings.json:
        print_json(_update_document(updated))
        return
    for one in updated.rejected[:_REJECTS_SHOWN]:
        say(settings, f"left out: {visible(one.place)} {visible(one.reason)}.")
    if len(updated.rejected) > _REJECTS_SHOWN:
        say(settings, f"… and {len(updated.rejected) - _REJECTS_SHOWN} more; engine rag show {index} --rejects.")
    told = (
        f"{updated.added} added, {updated.replaced} replaced, {updated.removed} removed, {updated.unchanged} unchanged"
    )
    compacted = "; written anew without what was removed" if updated.compacted else ""
    click.echo(f"{told}; {updated.chunks} new chunks, {updated.embedded} of them embedded{compacted}.")


def _update_document(updated: Updated) -> dict[str, Any]:
    counted = {
        name: getattr(updated, name) for name in ("added", "replaced", "removed", "unchanged", "chunks", "embedded")
    }
    rejected = [asdict(one) for one in updated.rejected]
    return {**counted, "compacted": updated.compacted, "rejected": rejected, "counts": asdict(updated.manifest.counts)}
