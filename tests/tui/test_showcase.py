"""The generated experiments: all kinds, with a believable past, and some that go on."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from engine.evaluate import results
from engine.report.files import evaluation_here
from engine.store import experiments, facts, series
from engine.store.database import Store
from engine.telemetry.states import State


def test_the_writer_leaves_a_whole_database_lets_runs_go_on_and_ends_with_its_input(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-m", "tui.showcase", str(tmp_path)], stdin=subprocess.PIPE)
    try:
        database = tmp_path / "experiments.db"
        _until(database.exists)
        store = Store.open(database)
        found = {one.id: one for one in experiments.list_experiments(store)}
        assert {one.kind for one in found.values()} == {"sft", "rm", "ppo", "rag", "eval"}
        assert {State.SUCCEEDED, State.FAILED, State.STOPPED, State.QUEUED, State.RUNNING} <= {
            one.state for one in found.values()
        }
        live = next(one for one in found.values() if one.kind == "ppo" and one.state is State.RUNNING)
        _until(lambda: experiments.get(store, live.id).step > live.step)
        score = series.read(store, live.id, "score")
        assert all(earlier < later for earlier, later in zip(score.time, score.time[1:], strict=False))
        for one in found.values():
            if one.kind == "eval":
                (made,) = facts.artifacts(store, one.id)
                assert evaluation_here(store, one.id) == Path(made.path)
                panel = results.read_panel(Path(made.path))
                assert panel["figures"]["hallucinated"]["value"] == one.last["hallucinated"]
        store.close()
    finally:
        writer.communicate(timeout=60)
    assert writer.returncode == 0


def _until(holds: object, seconds: float = 90.0) -> None:
    assert callable(holds)
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.1)
