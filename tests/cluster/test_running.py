"""A program run over a companion: its lines come as they are written, and it does not outlive who watches it."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from engine.cluster.hostfile import local_hostfile
from engine.cluster.node.processes import process_start
from engine.cluster.session import NodeSession
from engine.errors import PlumblineError, RunFailed

[NODE] = local_hostfile().nodes


def test_lines_of_both_outputs_come_in_order_and_the_code_at_the_end(tmp_path: Path) -> None:
    program = "import os, sys; print(os.getcwd(), os.environ['X']); print('two', file=sys.stderr); sys.exit(3)"
    said: list[str] = []
    with NodeSession.connect(NODE) as session:
        answer = session.ask(
            "run",
            on_piece=lambda header, _: said.append(header["line"]),
            argv=[sys.executable, "-u", "-c", program],
            env={"X": "a b; $HOME"},
            cwd=str(tmp_path),
        )
    assert (answer["code"], said) == (3, [f"{tmp_path} a b; $HOME", "two"])


def test_a_program_that_is_not_there_or_takes_too_long_is_a_sentence() -> None:
    with NodeSession.connect(NODE) as session:
        with pytest.raises(RunFailed, match=r"/nowhere/x cannot be started: No such file or directory\.$"):
            session.ask("run", argv=["/nowhere/x"])
        with pytest.raises(RunFailed, match=r"sleep did not end within 0\.2 s\.$"):
            session.ask("run", argv=["sleep", "60"], limit=0.2)


def test_a_program_dies_with_the_connection() -> None:
    pids: list[int] = []
    session = NodeSession.connect(NODE)

    def ask() -> None:
        program = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
        with pytest.raises(PlumblineError):
            session.ask(
                "run",
                seconds=None,
                on_piece=lambda header, _: pids.append(int(header["line"])),
                argv=[sys.executable, "-c", program],
            )

    thread = threading.Thread(target=ask)
    thread.start()
    give_up = time.monotonic() + 30
    while not pids:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    assert process_start(pids[0]) is not None
    session.close()
    thread.join(30)
    while process_start(pids[0]) is not None:
        assert time.monotonic() < give_up
        time.sleep(0.01)
