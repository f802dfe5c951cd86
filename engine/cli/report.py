"""`engine report`: what experiments made of hallucination, on one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.output import print_json, say
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import InvalidInput

if TYPE_CHECKING:
    from engine.report.records import Report

_SUFFIXES = {".html": "html", ".htm": "html", ".md": "md", ".markdown": "md", ".json": "json"}


@click.command()
@click.argument("references", metavar="EXP|PIPELINE…", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "outputs",
    metavar="FILE",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write: .html, .md or .json; may be given several times.",
)
@click.option(
    "--format", "style", type=click.Choice(["html", "md", "json"]), help="Of all files, whatever their names."
)
@click.option(
    "--examples",
    type=click.IntRange(min=0, max=100),
    default=5,
    show_default=True,
    help="Answers to read, of each kind of change.",
)
@click.option("--local", is_flag=True, help="Look at no other machine for answers.")
@global_options
@pass_settings
def report(
    settings: Settings,
    references: tuple[str, ...],
    *,
    outputs: tuple[Path, ...],
    style: str | None,
    examples: int,
    local: bool,
) -> None:
    """Write what changed from stage to stage: outcomes, answers, curves, specs, lineage.

    A pipeline is named by its name, or by its file.
    """
    from engine.cli.evaluation_files import find_files
    from engine.report.report import build
    from engine.report.selection import chosen

    styles = [style or _style(path) for path in outputs]
    store = settings.open_store()
    selection = chosen(store, [_named(reference) for reference in references])
    found = find_files(store, selection.experiments, here_only=local)
    for problem in found.problems:
        say(settings, problem)
    made = build(store, selection, found, examples)
    write_report(made, outputs, styles)
    if settings.json:
        files = [{"path": str(path), "format": one} for path, one in zip(outputs, styles, strict=True)]
        print_json(
            {
                "experiments": list(selection.experiments),
                "summary": made.summary,
                "files": files,
                "notes": list(made.notes),
            }
        )
        return
    say(settings, made.summary)
    say(settings, f"{' and '.join(map(str, outputs))} {'tells' if len(outputs) == 1 else 'tell'} the rest.")


def write_report(made: Report, outputs: Sequence[Path], styles: Sequence[str] | None = None) -> None:
    """Write a report to files. styles: of each; None: as their names say. Raises RunFailed where one cannot be."""
    from engine.report.written import write_file

    for path, style in zip(outputs, styles or [_style(path) for path in outputs], strict=True):
        write_file(path.expanduser(), _writer(style)(made), over=True)


def _named(reference: str) -> str:
    """Return what a reference means: of a pipeline's file the name of the pipeline."""
    path = Path(reference)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return reference
    from engine.spec.pipeline import load_pipeline

    return load_pipeline(path).name


def _style(path: Path) -> str:
    style = _SUFFIXES.get(path.suffix.lower())
    if style is None:
        raise InvalidInput(
            f"{path.name} does not say what it should be.", hint="Call it .html, .md or .json, or say --format."
        )
    return style


def _writer(style: str) -> Callable[[Report], str]:
    from engine.report.html import to_html
    from engine.report.markdown import to_markdown
    from engine.report.report import to_json

    return {"html": to_html, "md": to_markdown, "json": to_json}[style]
