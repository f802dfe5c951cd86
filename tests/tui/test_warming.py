"""What the places need can be loaded, and is there afterwards."""

from __future__ import annotations

import subprocess
import sys


def test_after_loading_no_place_loads_anything_heavy_and_no_library_that_computes() -> None:
    program = """
import sys
from tui.warming import load_all
load_all()
before = set(sys.modules)
from tui.places import PLACES
from tui.screens.run import RunScreen
from engine.dispatch.survey import SurveyReader
made = [place.make() for place in PLACES if place.screen]
assert len(made) == 4 and {"tui.screens.queue", "tui.screens.index", "engine.dispatch.line"} <= before
assert not {"torch", "faiss", "transformers"} & set(sys.modules)
print(len([name for name in set(sys.modules) - before if name.startswith("engine.")]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 0
