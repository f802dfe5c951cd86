"""`engine rag build`: the job of a retrieval index, in the foreground, under whatever started it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.job_options import job_options
from engine.cli.settings import Settings

if TYPE_CHECKING:
    from engine.spec.models import RagSpec


@click.command()
@job_options
def build(settings: Settings, file: Path, run_dir: Path | None, attempt: int | None, overrides: tuple[str, ...]) -> int:
    """Build the index of FILE here, in RUN_DIR/index; what is cut off goes on where it was."""
    return build_index(file, run_dir, attempt, overrides)


def build_index(file: Path, run_dir: Path | None, attempt: int | None, overrides: Sequence[str] = ()) -> int:
    """Build this rank's part of an index and end the process (see `engine.job.main.run_job`)."""
    from engine.job.main import run_job
    from engine.rag.embedding import environment
    from engine.spec.models import RagSpec

    environment.prepare()
    return run_job(file, run_dir, attempt, overrides, kinds=RagSpec, command="engine rag build", body=_build)


def _build(spec: RagSpec, run_dir: Path, attempt: int) -> int:
    from engine.job.runtime import choose_accelerator

    choose_accelerator()

    from engine.rag import build as building

    if spec.questions is None:
        return building.run(spec, run_dir, attempt)
    from engine.evaluate.retrieval import quality_metrics

    questions, embedder = Path(spec.questions), Path(spec.embedder.path) if spec.embedder is not None else None
    return building.run(spec, run_dir, attempt, lambda folder: quality_metrics(folder, questions, embedder))
