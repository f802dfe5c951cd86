"""The whole log of a rank, read or searched where it lies: only the lines that are wanted leave the node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from engine.cluster.node.archive import Sources
from engine.cluster.node.launching import Tell, expand, node_folder

PROGRAM = "engine.cluster.node.log_search"
PIECE_BYTES = 64 * 1024
SEARCH_SECONDS = 300.0  # of processor time


def search(
    tell: Tell,
    *,
    sources: Sources,
    run_dir: str,
    attempt: int,
    node: int,
    rank: int,
    grep: str = "",
    tail: int | None = None,
    limit: float = SEARCH_SECONDS,
) -> Mapping[str, Any]:
    """Send the lines of a rank's log, each with its newline, in pieces that are cut anywhere.

    The answer says if the log is `missing`.

    Args:
        tell: is sent the pieces.
        sources: of the modules that run here.
        run_dir, attempt, node, rank: whose log.
        grep: only lines in which this regular expression is found; a line of more than 64 KiB is looked at, and
            comes, in pieces.
        tail: only so many of them, the last ones; the file is read from its end then.
        limit: seconds of processor time that it may take.
    """
    path = node_folder(expand(run_dir), attempt, node) / f"rank-{rank}.log"
    if not path.is_file():
        return {"missing": True}
    arguments = [str(path), grep, "" if tail is None else str(tail), str(limit), str(os.getpid())]
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", sources[PROGRAM][0], *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    with process:
        try:
            while True:
                piece = os.read(process.stdout.fileno(), PIECE_BYTES)
                if not piece:
                    break
                tell({}, piece)
            said = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
            code = process.wait()
        except BaseException:  # whoever asked has gone
            process.kill()
            raise
    if code == -signal.SIGPROF:
        return {"problem": f"the search of {path} took more than {limit:g} s of processor time, and was ended"}
    if code != 0:
        return {"problem": said[-1] if said else f"the search of {path} was ended by signal {-code}"}
    return {}
