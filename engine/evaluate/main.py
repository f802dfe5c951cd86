"""`engine eval`: one rank of an evaluation, from a spec file to an exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from engine.job.main import run_job
from engine.spec.models import EvalSpec


def evaluate(
    spec_path: Path,
    run_dir: Path | None = None,
    attempt: int | None = None,
    overrides: Sequence[str] = (),
    tell: Callable[[EvalSpec, Path], None] = lambda spec, folder: None,
) -> int:
    """Answer this rank's part of the evaluation in `spec_path` and end the process (see `engine.job.main.run_job`).

    tell: called by rank 0 at the end, with the folder of the evaluation.
    """

    def body(spec: EvalSpec, run_dir: Path, attempt: int) -> int:
        from engine.job import runtime

        runtime.choose_accelerator()

        from engine.evaluate import job

        code = job.run(spec, run_dir, attempt)
        if code == 0 and runtime.is_main_process():
            tell(spec, run_dir / job.EVALUATION)
        return code

    return run_job(spec_path, run_dir, attempt, overrides, kinds=EvalSpec, command="engine eval", body=body)
