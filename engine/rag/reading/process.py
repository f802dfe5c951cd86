"""Files parsed in another process: no file can stop this one, nor fill its memory."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import engine
from engine.errors import Refused, RunFailed
from engine.rag.reading.files import CorpusFile
from engine.rag.reading.readers import rejected
from engine.rag.reading.rules import Found, Limits, Rules
from engine.rag.records import Document, Rejected, Section

_PIECE = 1 << 20
_START_SECONDS = 300
_ROOT = Path(engine.__file__).parents[1]


class ParsingProcess:
    """A process that parses one file after another; when it dies of one, the next file gets a new process."""

    def __init__(self, rules: Rules, limits: Limits) -> None:
        self._rules = rules
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: deque[bytes] = deque()
        self._unfinished: list[bytes] = []
        self._file: CorpusFile | None = None

    @property
    def idle(self) -> bool:
        """Whether the process has no file."""
        return self._file is None

    def begin(self, file: CorpusFile) -> None:
        """Hand a file to the process, which must be idle.

        Raises:
            RunFailed: if the process cannot be started.
        """
        task = {
            "file": dataclasses.asdict(file),
            "rules": dataclasses.asdict(self._rules),
            "limits": dataclasses.asdict(self._limits),
        }
        request = json.dumps(task).encode() + b"\n"
        try:
            self._write(request)
        except BrokenPipeError:  # it was killed between two files
            self.close()
            self._write(request)
        self._file = file

    def found(self) -> Found:
        """Yield what the file that was begun holds.

        Raises:
            Refused: if a library that reads this kind of file is missing.
        """
        file = self._file
        assert file is not None
        while True:
            message, reason = self._message(self._limits.silence_seconds)
            if message is None:
                self.close()
                yield rejected(file, reason)
                return
            if "document" in message:
                yield _document(message["document"])
            elif "rejected" in message:
                yield Rejected(*message["rejected"])
            elif "missing" in message:
                raise Refused(
                    f"documents of this kind are read by {message['missing']}, which is not installed.",
                    hint="Install plumbline[rag].",
                    where=file.path,
                )
            elif "end" in message:
                self._file = None
                if not message["end"]:
                    self.close()
                return

    def close(self) -> None:
        """End the process, whatever it does."""
        self._file = None
        self._lines.clear()
        self._unfinished.clear()
        if self._process is None:
            return
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process = None

    def _write(self, request: bytes) -> None:
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(request)
        self._process.stdin.flush()

    def _start(self) -> None:
        paths = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "engine.rag.reading.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
            start_new_session=True,  # an interrupt from the keyboard is for this process, which ends that one
        )
        ready, reason = self._message(_START_SECONDS)
        if ready is None:
            self.close()
            raise RunFailed(f"the process that parses documents did not start: it {reason}.")

    def _message(self, seconds: int) -> tuple[dict[str, Any] | None, str]:
        """Return the next message; None, and what became of the process, if none comes."""
        assert self._process is not None and self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        while not self._lines:
            if not waiting.poll(seconds * 1000):
                return None, f"gave nothing for {seconds} s"
            piece = os.read(descriptor, _PIECE)
            if not piece:
                return None, _cause_of_death(self._process.wait(), self._limits)
            first, *others = piece.split(b"\n")
            self._unfinished.append(first)
            for other in others:
                self._lines.append(b"".join(self._unfinished))
                self._unfinished = [other]
        message = json.loads(self._lines.popleft())
        return message, ""


def _cause_of_death(code: int, limits: Limits) -> str:
    """Say what a process died of; completes the sentence "FILE …"."""
    if code == -signal.SIGXCPU:
        return f"takes more than {limits.cpu_seconds} s of CPU time"
    if code == -signal.SIGKILL:
        return "had its reader killed, perhaps for want of memory"
    try:
        return f"crashes its reader ({signal.Signals(-code).name})"
    except ValueError:
        return f"crashes its reader (exit code {code})"


def _document(message: list[Any]) -> Document:
    identity, text, source, title, metadata, sections = message
    return Document(identity, text, source, title, metadata, tuple(Section(*section) for section in sections))
