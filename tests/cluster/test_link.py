"""A link to this machine and the real companion at its end: files arrive, agents start, faults are told."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.cluster.channel import Transport
from engine.cluster.dial import connect
from engine.cluster.hostfile import Node, local_hostfile
from engine.cluster.link import Frame, LinkDown, LinkUp, Message, NodeLink
from engine.cluster.node.following import RESULT_BYTES

KEY = "sft-0001/1/0"


class Far:
    """A link, and what came over it."""

    def __init__(self, node: Node, dial: Callable[[Node], Transport] = connect) -> None:
        self.inbox: queue.Queue[Message] = queue.Queue()
        self.link = NodeLink(node, self.inbox, dial)
        self.frames: list[Frame] = []
        self.downs: list[LinkDown] = []
        self.ups = 0
        self.link.start()

    def until(self, holds: Callable[[], Any]) -> None:
        give_up = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < give_up, (self.frames[-5:], self.downs)
            try:
                message = self.inbox.get(timeout=0.1)
            except queue.Empty:
                continue
            self.link.take(message)
            if isinstance(message, Frame):
                self.frames.append(message)
            elif isinstance(message, LinkDown):
                self.downs.append(message)
            else:
                assert isinstance(message, LinkUp)
                self.ups += 1

    def reply(self, operation: str) -> dict[str, Any]:
        wanted = [KEY, operation]
        self.until(lambda: any(frame.header.get("reply") == wanted for frame in self.frames))
        return dict(next(frame.header for frame in self.frames if frame.header.get("reply") == wanted))

    def companion(self) -> int:
        """The process id of the companion."""
        self.until(lambda: any("pid" in frame.header for frame in self.frames))
        return next(int(frame.header["pid"]) for frame in self.frames if "pid" in frame.header)

    def phases(self) -> list[str]:
        return [frame.header["phase"] for frame in self.frames if "phase" in frame.header]

    def copies(self) -> dict[str, bytes]:
        """What a mirror that takes every piece would hold."""
        found: dict[str, bytes] = {}
        for frame in self.frames:
            if "file" in frame.header:
                name, offset = frame.header["file"], frame.header["offset"]
                held = b"" if frame.header["restarted"] else found.get(name, b"")
                assert len(held) == offset
                found[name] = held + frame.data
        return found


@pytest.fixture
def far() -> Iterator[Far]:
    (node,) = local_hostfile().nodes
    found = Far(node)
    found.until(lambda: found.link.connected)
    yield found
    found.link.close()
    found.link.join(10)


def where(folder: Path) -> dict[str, Any]:
    return {"run_dir": str(folder), "attempt": 1, "node": 0}


def stage(far: Far, folder: Path, **more: Any) -> dict[str, Any]:
    order = {
        "own": False,
        "python": sys.executable,
        "packages": ["plumbline"],
        "shared": {"spec.yaml": "kind: sft\n"},
        "port_on": "127.0.0.1",
    }
    far.link.request("stage", id=[KEY, "stage"], **(where(folder) | order | more))
    return far.reply("stage")


def start(far: Far, folder: Path, script: str) -> None:
    job = {
        "node": 0,
        "nodes": 1,
        "world_size": 1,
        "ranks": [{"rank": 0, "local_rank": 0}],
        "master_address": "127.0.0.1",
        "master_port": 1,
        "threads": 1,
        "interface": None,
        "argv": ["-c", script, "{run_dir}"],
        "env": {},
    }
    far.link.request("start", id=[KEY, "start"], job=job, python=sys.executable, **where(folder))


def follow(far: Far, folder: Path, sizes: dict[str, int] | None = None, *, copy: bool = True) -> None:
    far.link.request("follow", run=KEY, sizes=sizes or {}, copy=copy, **where(folder))


def drained(far: Far) -> Callable[[], bool]:
    return lambda: any(frame.header.get("drained") for frame in far.frames)


def test_a_run_is_laid_ready_started_followed_to_its_end_and_copied_whole(far: Far, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    staged = stage(far, folder)
    assert staged["run_dir"] == str(folder)
    assert set(staged["versions"]) == {"plumbline"}
    assert stage(far, folder)["port"] == staged["port"]
    follow(far, folder)
    far.until(lambda: far.phases() == ["absent"])
    script = (
        "import sys, time\n"
        "with open(sys.argv[1] + '/metrics.jsonl', 'a') as file:\n"
        "  for step in range(2000):\n"
        "    file.write('{\"step\": %d}\\n' % step); file.flush()\n"
        "    if step % 100 == 0: print('step', step, flush=True); time.sleep(0.01)\n"
    )
    start(far, folder, script)
    far.until(drained(far))
    assert far.phases()[0] == "absent" and far.phases()[-1] == "exited"
    copies = far.copies()
    assert copies["metrics.jsonl"] == (folder / "metrics.jsonl").read_bytes()
    log = "attempt-1/node-0/rank-0.log"
    assert copies[log] == (folder / log).read_bytes() and copies[log].endswith(b"step 1900\n")
    last = next(frame.header for frame in reversed(far.frames) if "phase" in frame.header)
    assert last["exit"]["why"] == "ok"


def test_following_goes_on_where_the_copy_ends_and_begins_anew_when_the_file_does(far: Far, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b"0123456789")
    follow(far, tmp_path, {"metrics.jsonl": 4})
    far.until(lambda: any(frame.data for frame in far.frames))
    first = next(frame for frame in far.frames if frame.data)
    assert (first.header["offset"], first.header["restarted"], first.data) == (4, False, b"456789")
    (tmp_path / "metrics.jsonl").write_bytes(b"abc")
    far.until(lambda: any(frame.data == b"abc" for frame in far.frames))
    assert far.frames[-1].header["offset"] == 0 and far.frames[-1].header["restarted"] is True


def test_the_results_of_an_evaluation_are_sent_whole_and_too_large_ones_are_told_of(far: Far, tmp_path: Path) -> None:
    results = tmp_path / "evaluation"
    results.mkdir()
    (results / "panel.json").write_bytes(b"{}")
    (results / "answers.jsonl").write_bytes(b"[]\n" * 2_000_000)  # more than is sent of a log
    follow(far, tmp_path)
    far.until(lambda: sum(len(frame.data) for frame in far.frames) >= 6_000_002)
    copies = far.copies()
    assert copies["evaluation/panel.json"] == b"{}"
    assert copies["evaluation/answers.jsonl"] == (results / "answers.jsonl").read_bytes()
    far.frames.clear()
    with (results / "answers.jsonl").open("r+b") as file:
        file.truncate(RESULT_BYTES)
    far.until(lambda: any("left_out" in frame.header for frame in far.frames))
    (told,) = [frame.header for frame in far.frames if "left_out" in frame.header]
    assert told["left_out"] == RESULT_BYTES + 2 and not any(frame.data for frame in far.frames)


def test_what_is_missing_is_said_before_anything_starts(far: Far, tmp_path: Path) -> None:
    far.frames.clear()
    assert "/no/python cannot be run" in stage(far, tmp_path, python="/no/python")["problem"]
    far.frames.clear()
    assert "has no no-such-package; install" in stage(far, tmp_path, packages=["no-such-package"])["problem"]
    far.frames.clear()
    follow(far, tmp_path)
    far.until(lambda: far.phases() == ["absent"])


def test_a_folder_that_cannot_be_written_is_named(far: Far, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert f"{tmp_path}/file" in stage(far, tmp_path / "file" / "run")["problem"]


def test_a_node_that_does_not_share_the_folder_says_so(far: Far, tmp_path: Path) -> None:
    assert "must be shared" in stage(far, tmp_path, node=1, port_on=None)["problem"]


def test_signals_reach_the_agent_and_the_end_of_a_killed_one_is_told(far: Far, tmp_path: Path) -> None:
    stage(far, tmp_path)
    follow(far, tmp_path, copy=False)
    start(far, tmp_path, "import time; time.sleep(600)")
    far.until(lambda: far.phases()[-1:] == ["alive"])
    pid = json.loads((tmp_path / "attempt-1/node-0/agent.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    far.until(lambda: far.phases()[-1:] == ["exited"])
    assert [frame.header["exit"]["why"] for frame in far.frames if frame.header.get("exit")] == ["agent_killed"]
    far.until(drained(far))


def test_a_lost_connection_is_told_and_made_again_while_the_run_goes_on(far: Far, tmp_path: Path) -> None:
    stage(far, tmp_path)
    start(far, tmp_path, "import time; time.sleep(600)")
    far.reply("start")
    os.kill(far.companion(), signal.SIGKILL)
    far.until(lambda: far.ups == 2)
    assert "the connection was closed" in str(far.downs[0].error)
    follow(far, tmp_path)
    far.until(lambda: far.phases()[-1:] == ["alive"])
    far.link.request("signal", name="TERM", **where(tmp_path))
    far.until(lambda: far.phases()[-1:] == ["exited"])


def test_a_companion_that_falls_silent_is_taken_for_dead(far: Far) -> None:
    pid = far.companion()
    os.kill(pid, signal.SIGSTOP)
    try:
        far.until(lambda: far.downs)
        assert "nothing was heard for 6 s" in str(far.downs[0].error)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_python_that_is_not_there_and_a_shell_that_chatters_are_told_in_a_sentence(tmp_path: Path) -> None:
    (node,) = local_hostfile().nodes
    chatty = tmp_path / "python"
    chatty.write_text("#!/bin/sh\necho Welcome to node-7\nsleep 100\n")
    chatty.chmod(0o755)
    for python, said in ((str(chatty), "prints 'Welcome to node-7'"), (shutil.which("false"), "could not be started")):
        far = Far(replace(node, python=str(python)))
        far.until(lambda: far.downs)  # noqa: B023
        far.link.close()
        assert said in str(far.downs[0].error)
