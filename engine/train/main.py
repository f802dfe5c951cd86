"""`engine train`: one rank of a run, from a spec file to an exit code."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from engine.errors import ExitCode, PlumblineError, Refused, Unforeseen
from engine.spec.loading import load_spec
from engine.spec.models import TrainedSpec
from engine.spec.references import require_none
from engine.spec.resolve import with_absolute_paths
from engine.train import environment


def train(
    spec_path: Path, run_dir: Path | None = None, attempt: int | None = None, overrides: Sequence[str] = ()
) -> int:
    """Run this rank of the experiment in `spec_path` and end the process with its exit code.

    Args:
        spec_path: a spec file; relative paths in it are relative to its folder.
        run_dir: where checkpoints, facts and the exported model go; by default `runs/NAME` beside the spec.
        attempt: number of this attempt; by default one more than the run directory has seen.
        overrides: `key=value` settings over the spec.

    Raises:
        PlumblineError: for what is wrong before the training starts; later failures are printed as one line.
    """
    spec = with_absolute_paths(load_spec(spec_path, overrides), spec_path.resolve().parent)
    if not isinstance(spec, TrainedSpec):
        raise Refused(f"experiments of kind {spec.kind} cannot run yet.", where=str(spec_path))
    require_none(spec, str(spec_path))
    environment.prepare()
    folder = (run_dir or spec_path.parent / "runs" / (spec.name or spec_path.stem)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    code = _outcome(spec, folder, attempt or _next_attempt(folder))

    from engine.train.runtime import leave

    leave(code)


def _outcome(spec: TrainedSpec, run_dir: Path, attempt: int) -> int:
    try:
        from engine.train import runtime

        runtime.choose_accelerator()

        from engine.train import loop

        kind = importlib.import_module(f"engine.train.{spec.kind}")  # a file or a package a kind
        return loop.run(spec, run_dir, attempt, kind.trainer)
    except KeyboardInterrupt:  # before the loop listens to signals
        return ExitCode.INTERRUPTED
    except BaseException as error:
        foreseen = isinstance(error, PlumblineError) and not isinstance(error, Unforeseen)
        if not foreseen or os.environ.get("PLUMBLINE_DEBUG") == "1":
            # Above the one line, for whoever is to mend the program.
            traceback.print_exc()
        first = next(iter(str(error).splitlines()), "")
        told = str(error) if isinstance(error, PlumblineError) else f"{type(error).__name__}: {first}"
        print(f"error: {' '.join(told.split())}", file=sys.stderr)
        return int(error.exit_code if isinstance(error, PlumblineError) else ExitCode.RUN_FAILED)


def _next_attempt(run_dir: Path) -> int:
    numbers = [folder.name.removeprefix("attempt-") for folder in run_dir.glob("attempt-*")]
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=0)
