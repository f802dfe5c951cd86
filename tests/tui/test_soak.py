"""A day of eight runs, compressed and scaled down: the real program stays as small at the end as it was early on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_while_a_day_of_eight_runs_is_replayed_memory_stays_bounded_and_every_key_does_something() -> None:
    command = [sys.executable, "benchmarks/soak.py", "--steps", "20000", "--seconds", "90"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stdout + done.stderr  # a key that does nothing ends it
    most, second, last = map(int, re.findall(r"(\d+)(?= MiB|, last)", done.stdout.partition("memory: at most")[2])[:3])
    assert most < 220, done.stdout
    # eight runs of 20,000 steps and 14 metrics are 18 MB; what grows by much more is kept though nobody looks at it
    assert last - second < 60, done.stdout
