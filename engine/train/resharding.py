"""Loading what so many ranks saved into another number of ranks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import RunFailed


def make_universal(checkpoint: Path, tag: str) -> str:
    """Convert DeepSpeed's files below `checkpoint/tag` to its universal layout and return that one's tag.

    Raises:
        RunFailed: if DeepSpeed's converter fails.
    """
    target = checkpoint / f"{tag}-universal"
    shutil.rmtree(target, ignore_errors=True)
    converter = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state"]
    outcome = subprocess.run(
        [*converter, "--input_folder", str(checkpoint / tag), "--output_folder", str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if outcome.returncode != 0:
        said = outcome.stderr.strip().splitlines() or ["it says nothing"]
        raise RunFailed(f"the checkpoint cannot be spread over other ranks: {said[-1]}.", where=str(checkpoint))
    return target.name


@contextmanager
def universal_loading(engine: Any) -> Iterator[None]:
    """Let the engine read the universal layout; DeepSpeed looks at the setting only while it loads."""
    engine._config.load_universal_checkpoint = True
    try:
        yield
    finally:
        engine._config.load_universal_checkpoint = False
    for state in engine.optimizer.optimizer.state.values():
        # Under ZeRO 3 all parameter groups get one and the same step counter, and each of them would count it up.
        state["step"] = state["step"].clone()
