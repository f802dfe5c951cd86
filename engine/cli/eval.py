"""`engine eval`: the job of an evaluation, in the foreground, under whatever started it; it prints the figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.job_options import job_options
from engine.cli.output import print_json, table
from engine.cli.settings import Settings

if TYPE_CHECKING:
    from engine.spec.models import EvalSpec

_SHOWN = ("correct", "abstained", "hallucinated", "score")
# Figures that stand below the table, where there are any.
_BELOW = (
    "undetermined",
    "over_refusal",
    "refusal_recall",
    "mc1",
    "mc2",
    "hit",
    "groundedness",
    "citation_recall",
    "citation_precision",
)


@click.command("eval")
@job_options
def evaluate(
    settings: Settings, file: Path, run_dir: Path | None, attempt: int | None, overrides: tuple[str, ...]
) -> int:
    """Measure hallucination as FILE says, here, into RUN_DIR/evaluation; what is cut off goes on where it was."""
    from engine.evaluate import main
    from engine.rag.embedding import environment

    environment.prepare()

    def tell(spec: EvalSpec, folder: Path) -> None:
        from engine.evaluate.results import read_panel

        panel = read_panel(folder)
        if settings.json:
            print_json(_document(spec, panel, folder))
        else:
            click.echo(_page(panel, folder))

    return main.evaluate(file, run_dir, attempt, overrides, tell)


def _document(spec: EvalSpec, panel: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {
        "name": spec.name,
        **_rates(panel),
        "by": {group: _rates(part) for group, part in panel["by"].items()},
        "calibration": {name: panel["calibration"][name] for name in ("auroc", "aurc", "ece", "brier")},
        "causes": panel["causes"],
        "evaluation": str(folder),
    }


def _rates(part: Mapping[str, Any]) -> dict[str, Any]:
    figures = part["figures"]
    return {
        "examples": part["questions"],
        **{name: None if one is None else one["value"] for name, one in figures.items()},
        "intervals": {name: None if one is None else [one["low"], one["high"]] for name, one in figures.items()},
    }


def _page(panel: Mapping[str, Any], folder: Path) -> str:
    parts = [("all", panel), *panel["by"].items()]
    rows = [
        [name, f"{part['questions']:,}", *(_told(part["figures"].get(figure)) for figure in _SHOWN)]
        for name, part in parts
    ]
    header = ["GROUP", "QUESTIONS", *(name.upper() for name in _SHOWN)]
    return "\n".join([table(header, rows, right=[1]), "", *_lines(panel), f"evaluation  {folder}"])


def _lines(panel: Mapping[str, Any]) -> Iterator[str]:
    for name in _BELOW:
        figure = panel["figures"].get(name)
        if figure is not None and (name != "undetermined" or figure["value"]):
            yield f"{name}  {_told(figure)}"
    calibration = panel["calibration"]
    told = [f"{name} {calibration[name]:.3f}" for name in ("auroc", "ece", "brier") if calibration[name] is not None]
    if told:
        yield f"confidence  {'  '.join(told)}"
    causes = [f"{cause.replace('_', ' ')} {count:,}" for cause, count in panel["causes"].items() if count]
    if causes:
        yield f"failures  {', '.join(causes)}"


def _told(figure: Mapping[str, float] | None) -> str:
    return "–" if figure is None else f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
