"""One rank of a job, from a spec file to an exit code: what all kinds have in common."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import UnionType
from typing import TypeVar

from engine.errors import ExitCode, InvalidInput, PlumblineError, Unforeseen
from engine.job import environment
from engine.spec.loading import load_spec
from engine.spec.models import AnySpec
from engine.spec.references import require_none
from engine.spec.resolve import with_absolute_paths

Spec = TypeVar("Spec", bound=AnySpec)


def run_job(
    spec_path: Path,
    run_dir: Path | None,
    attempt: int | None,
    overrides: Sequence[str],
    *,
    kinds: type[Spec] | UnionType,
    command: str,
    body: Callable[[Spec, Path, int], int],
) -> int:
    """Run this rank of the experiment in `spec_path` and end the process with its exit code.

    Args:
        spec_path: a spec file; relative paths in it are relative to its folder.
        run_dir: where checkpoints, facts and what is made go; by default `runs/NAME` beside the spec.
        attempt: number of this attempt; by default one more than the run directory has seen.
        overrides: `key=value` settings over the spec.
        kinds: types of spec that the command runs.
        command: the command, for people.
        body: what runs: the spec, the run directory and the attempt in, the exit code out.

    Raises:
        PlumblineError: for what is wrong before the job begins; later failures are printed as one line.
    """
    spec = with_absolute_paths(load_spec(spec_path, overrides), spec_path.resolve().parent)
    if not isinstance(spec, kinds):
        raise InvalidInput(f"{command} does not run experiments of kind {spec.kind}.", where=str(spec_path))
    require_none(spec, str(spec_path))
    environment.prepare()
    folder = (run_dir or spec_path.parent / "runs" / (spec.name or spec_path.stem)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    code = _outcome(body, spec, folder, attempt or _next_attempt(folder))

    from engine.job.runtime import leave

    leave(code)


def _outcome(body: Callable[[Spec, Path, int], int], spec: Spec, run_dir: Path, attempt: int) -> int:
    try:
        return body(spec, run_dir, attempt)
    except KeyboardInterrupt:  # before the job listens to signals
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
