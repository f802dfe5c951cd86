"""Runs one sshd of a loopback testbed for as long as standard input stays open, however its holder ends.

Started as a program of its own with the standard library alone; what it knows of processes, its neighbours import.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path


def children_of(parent: int) -> list[tuple[int, str]]:
    """Return the process ids and command names of a process's children."""
    return [(pid, command) for pid, above, command in processes() if above == parent]


def processes() -> list[tuple[int, int, str]]:
    """Return process id, parent and command name of every process that is no zombie."""
    if not Path("/proc/self/stat").exists():  # not Linux
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,comm="], capture_output=True, text=True, check=True)
        rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
        return [(int(pid), int(above), Path(command).name) for pid, above, command in rows]
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, rest = (folder / "stat").read_text(errors="replace").rsplit(")", 1)
        except OSError:
            continue  # it has just ended
        if rest.split()[0] != "Z":
            found.append((int(folder.name), int(rest.split()[1]), name.split("(", 1)[1]))
    return found


def sessions_of(listener: int) -> list[int]:
    """Return the processes that a listening sshd has for its connections, without the programs that they run."""
    own = [pid for pid, _ in children_of(listener)]
    for pid in own:
        own += [child for child, command in children_of(pid) if command.startswith("sshd")]
    return own


def programs(own: Mapping[int, tuple[int, str]]) -> list[tuple[int, str, bool]]:
    """Return, of a node's processes, those that are not its sshd.

    Args:
        own: parent and command name by process id.

    Returns:
        Process id, command line, and whether an sshd is among the processes above it.
    """
    found = []
    for pid, (parent, name) in own.items():
        if name.startswith("sshd"):
            continue
        above = parent
        while above in own and not own[above][1].startswith("sshd"):
            above = own[above][0]
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:
            continue  # it has just ended
        found.append((pid, b" ".join(words).decode(errors="replace"), above in own))
    return found


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def end(listener: int) -> None:
    """End a listening sshd and all its connections."""
    kill(listener, signal.SIGSTOP)  # so that no connection is added meanwhile
    for pid in sessions_of(listener):
        kill(pid)
    kill(listener)


def main() -> None:
    """Run the command of the arguments until it ends, or standard input does."""
    daemon = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)

    def end_with_the_holder() -> None:
        while os.read(0, 1):
            pass
        end(daemon.pid)

    threading.Thread(target=end_with_the_holder, daemon=True).start()
    sys.exit(1 if daemon.wait() else 0)


if __name__ == "__main__":
    main()
