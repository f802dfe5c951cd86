"""`engine train`: one rank of a training, from a spec file to an exit code."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from engine.job.main import run_job
from engine.spec.models import TrainedSpec


def train(
    spec_path: Path, run_dir: Path | None = None, attempt: int | None = None, overrides: Sequence[str] = ()
) -> int:
    """Train this rank's part of the experiment in `spec_path` and end the process (see `engine.job.main.run_job`)."""
    return run_job(spec_path, run_dir, attempt, overrides, kinds=TrainedSpec, command="engine train", body=_train)


def _train(spec: TrainedSpec, run_dir: Path, attempt: int) -> int:
    from engine.job import runtime

    runtime.choose_accelerator()

    from engine.train import loop

    kind = importlib.import_module(f"engine.train.{spec.kind}")  # a file or a package a kind
    return loop.run(spec, run_dir, attempt, kind.trainer)
