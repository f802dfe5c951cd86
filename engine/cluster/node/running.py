"""A program run on this node for who watches it: its lines are sent as they come, and it dies with the watcher."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.cluster.node.launching import Tell
from engine.cluster.node.processes import PR_SET_PDEATHSIG
from engine.cluster.node.rank_environment import interface_towards

MOST_LINE_BYTES = 4096


def run(
    tell: Tell,
    *,
    argv: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    limit: float | None = None,
    interface: str | None = None,
    towards: str | None = None,
) -> Mapping[str, Any]:
    """Run a program to its end and return its exit `code`, or minus its signal; no shell sees it.

    Args:
        tell: is sent each `line` of its output, of standard error too, cut where it is too long.
        argv: the program and its arguments; `~/` at the beginning of one is the home folder.
        env: variables beside those that this process has.
        cwd: where it runs; None: the home folder.
        limit: seconds after which it is ended, with all that it started; None: none.
        interface: of the network that its libraries use; None: the one that leads `towards` an address.
    """
    if interface is None and towards is not None:
        interface = interface_towards(towards)
    network = {} if interface is None else dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), interface)
    words = [os.path.expanduser(word) if word.startswith("~/") else word for word in argv]  # noqa: PTH111
    library = ctypes.CDLL(None) if sys.platform == "linux" else None

    def die_with_the_watcher() -> None:
        if library is not None:
            library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=Path(cwd).expanduser() if cwd is not None else Path.home(),
            env={**os.environ, **network, **(env or {})},
            start_new_session=True,
            preexec_fn=die_with_the_watcher,  # noqa: PLW1509, one system call that is safe beside threads
        )
    except OSError as error:
        return {"problem": f"{words[0]} cannot be started: {error.strerror}"}
    late = threading.Event()

    def end() -> None:
        late.set()
        _end_group(process.pid)

    timer = threading.Timer(limit, end) if limit is not None else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    assert process.stdout is not None
    try:
        for line in process.stdout:
            tell({"line": line[:MOST_LINE_BYTES].decode("utf-8", "replace").rstrip()})
        code = process.wait()
    except BaseException:  # whoever watched has gone
        _end_group(process.pid)
        raise
    finally:
        if timer is not None:
            timer.cancel()
    if late.is_set():
        return {"problem": f"{words[0]} did not end within {limit:g} s"}
    return {"code": code}


def _end_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
