"""`engine` in a process of its own: what computes, or asks many machines, never runs in the terminal UI."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from typing import Any

_LONGEST_LINE = 1 << 26  # bytes that it prints


class EngineFailed(Exception):
    """`engine` could not do what it was asked for; the text is the last that it said, as a sentence."""


async def start(words: Sequence[str], *, asked_again: bool = False) -> Process:
    """Start `engine` with these words. asked_again: it reads questions. Raises EngineFailed."""
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a folder called engine where one stands is not ours
            "-m",
            "engine.cli",
            *words,
            stdin=PIPE if asked_again else DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            limit=_LONGEST_LINE,
        )
    except (OSError, ValueError) as error:  # too long, or with a character that no argument has
        raise EngineFailed(f"engine cannot be started: {error}.") from error


async def document(words: Sequence[str]) -> Any:
    """Return the document that `engine` prints as JSON; cancelled, it is ended. Raises EngineFailed."""
    process = await start(words)
    try:
        out, said = await process.communicate()
    except BaseException:
        await finish(process)
        raise
    with contextlib.suppress(ValueError):
        found = json.loads(out)
        if not (isinstance(found, dict) and "error" in found):
            return found
    raise EngineFailed(sentence(said.decode("utf-8", "replace").splitlines(), process.returncode))


def sentence(said: Sequence[str], code: int | None) -> str:
    """Return the last line that was said, as a sentence. code: with which it ended."""
    last = next((line.strip() for line in reversed(said) if line.strip()), "")
    return last.removeprefix("error: ") or f"engine ended with exit code {code} and said nothing."


async def finish(process: Process) -> None:
    """End a process at once, if it runs, and wait until nothing of it is left."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.stdin is not None:
        process.stdin.close()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            await stream.read()
    await process.wait()
