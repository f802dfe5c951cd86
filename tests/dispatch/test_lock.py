"""One dispatcher a database, by a lock that dies with its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from engine.dispatch.lock import DispatcherLock, holder, lock_path

HOLD = (
    "import sys, time; from pathlib import Path; from engine.dispatch.lock import DispatcherLock\n"
    "assert DispatcherLock.acquire(Path(sys.argv[1])); print('held', flush=True); time.sleep(100)"
)


def hold(database: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(database)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_it_is_held_by_one_and_free_again_after_a_kill(tmp_path: Path) -> None:
    database = tmp_path / "x.db"
    assert holder(database) is None
    process = hold(database)
    try:
        held = holder(database)
        assert held is not None
        assert (held.pid, held.leaving) == (process.pid, False)
        assert abs(held.started - time.time()) < 60
        assert DispatcherLock.acquire(database) is None
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert holder(database) is None
    lock = DispatcherLock.acquire(database)
    assert lock is not None
    lock.release()


def test_whoever_is_about_to_leave_says_so(tmp_path: Path) -> None:
    database = tmp_path / "x.db"
    lock = DispatcherLock.acquire(database)
    assert lock is not None
    lock.tell(leaving=True)
    held = holder(database)
    assert held is not None and held.leaving
    lock.release()
    assert holder(database) is None


def test_rubbish_in_the_file_of_a_free_lock_does_no_harm(tmp_path: Path) -> None:
    database = tmp_path / "x.db"
    lock_path(database).write_bytes(b"\xff{" * 300)
    assert holder(database) is None
    lock = DispatcherLock.acquire(database)
    assert lock is not None
    held = holder(database)
    assert held is not None and held.pid == os.getpid()
    lock.release()
