"""A run that is killed and goes on, beside one that is not."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

from tests.train.facts import events, wait_for_step
from tests.train.forkserver import ForkServer


def whole_and_resumed(
    server: ForkServer, spec: Path, folder: Path, *, steps: int, every: int, draw: str
) -> tuple[Path, Path]:
    """Run a spec on two ranks, once undisturbed, once with a rank killed at a step that `draw` decides, and resumed.

    Returns:
        the two run directories; both runs have ended well, the second after a resume from a checkpoint.
    """
    whole = server.start(spec, folder / "whole", world=2)
    assert whole.wait() == [0, 0], whole.log()

    killed = server.start(spec, folder / "killed", world=2)
    step = random.Random(draw).randint(every + 1, steps - 1)
    wait_for_step(killed.run_dir, step)
    os.kill(killed.pids[step % 2], signal.SIGKILL)
    assert -signal.SIGKILL in killed.wait()

    resumed = server.start(spec, folder / "killed", world=2)
    assert resumed.wait() == [0, 0], resumed.log()
    assert events(resumed.run_dir, "resumed")[0]["step"] in range(every, steps, every)
    return whole.run_dir, resumed.run_dir
