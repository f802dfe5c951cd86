"""Questions to indexes and models, asked by `engine`.

A process of `engine rag query` stays for the next question to the same index in the same mode, so that libraries and
index are opened once; `close` ends all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui.engine_process import EngineFailed, document, finish, sentence, start

_KEPT_LINES = 20  # of what a process says of itself
_MOST_KEPT = 4  # processes that wait for the next question


@dataclass(frozen=True, slots=True)
class Query:
    """Where a question goes, and how."""

    index: str  # id of the experiment that made it
    mode: str
    passages: int

    @property
    def options(self) -> list[str]:
        """What `engine` is told of it."""
        return ["--json", "-k", str(self.passages), "--mode", self.mode]


@dataclass(slots=True)
class _Warm:
    """A process that waits for questions."""

    process: Process
    said: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    listening: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        """Take in what it says of itself, so that it never waits for a reader."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            if text := line.decode("utf-8", "replace").strip():
                self.said.append(text)

    async def end(self) -> None:
        """End it at once."""
        if self.listening is not None:
            self.listening.cancel()
            await asyncio.gather(self.listening, return_exceptions=True)
        await finish(self.process)


class Asker:
    """Asks by `engine`; a cancelled question ends its process."""

    def __init__(self, database: Path) -> None:
        self._database = str(database)
        self._warm: dict[Query, _Warm] = {}

    async def passages(self, query: Query, question: str) -> Mapping[str, Any]:
        """Return the document of `engine rag query --json`. Raises EngineFailed."""
        warm = self._warm.pop(query, None)
        if warm is not None and warm.process.returncode is not None:
            await warm.end()
            warm = None
        if warm is None:
            warm = await self._start(query)
        try:
            found = await _asked(warm, question)
        except BaseException:  # a cancelled one too: it would read the answer to the question before
            await warm.end()
            raise
        self._warm[query] = warm
        while len(self._warm) > _MOST_KEPT:
            await self._warm.pop(next(iter(self._warm))).end()
        return found

    async def answer(self, query: Query, question: str, model: str) -> Mapping[str, Any]:
        """Return the document of `engine rag answer --json`. Raises EngineFailed."""
        words = ["rag", "answer", *query.options, "--model", model, "--db", self._database]
        found: Mapping[str, Any] = await document([*words, "--", query.index, question])
        return found

    async def close(self) -> None:
        """End the processes that wait, and wait for their ends."""
        warm, self._warm = list(self._warm.values()), {}
        await asyncio.gather(*(one.end() for one in warm))

    async def _start(self, query: Query) -> _Warm:
        words = ["rag", "query", *query.options, "--db", self._database, "--", query.index]
        warm = _Warm(await start(words, asked_again=True))
        warm.listening = asyncio.create_task(warm.listen())
        return warm


async def _asked(warm: _Warm, question: str) -> Mapping[str, Any]:
    """Write the question, and wait for the line with what was found."""
    process = warm.process
    assert process.stdin is not None and process.stdout is not None
    line = b""
    with contextlib.suppress(ConnectionError, ValueError):  # it has ended, or the line is longer than any answer
        process.stdin.write(" ".join(question.split()).encode("utf-8", "replace") + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
    with contextlib.suppress(ValueError):
        found = json.loads(line)
        if isinstance(found, dict) and "passages" in found:
            return found
    process.stdin.close()
    await process.stdout.read()  # the rest of what it has to say
    if warm.listening is not None:
        await warm.listening
    await process.wait()
    raise EngineFailed(sentence(warm.said, process.returncode))
