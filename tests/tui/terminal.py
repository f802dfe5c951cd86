"""A real terminal to drive: tmux, one window."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


class Terminal:
    """A tmux server of its own with one window."""

    def __init__(self, folder: Path, columns: int, lines: int) -> None:
        assert shutil.which("tmux"), "this test needs tmux: apt install tmux"
        # Its own: a server that was told to end may still answer by its name, and then takes no new session.
        self._socket = tempfile.TemporaryDirectory(prefix="plumbline-test-")
        self.tmux = ["tmux", "-S", str(Path(self._socket.name, "tmux")), "-f", os.devnull]
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("TMUX", "NO_COLOR", "ENGINE_DB", "COLUMNS", "LINES")  # the last two tell of another one
        } | {"LC_ALL": "C.UTF-8", "TERM": "screen-256color"}
        self.folder, self.size = folder, ["-x", str(columns), "-y", str(lines)]

    def start(self, command: str) -> None:
        """Run a shell command in the window."""
        self._tmux("new-session", "-d", *self.size, "-c", str(self.folder), command)

    def press(self, *keys: str) -> None:
        """Press keys, as tmux calls them."""
        self._tmux("send-keys", "--", *keys)

    def type(self, text: str) -> None:
        """Type a text as it stands."""
        self._tmux("send-keys", "-l", "--", text)

    def screen(self) -> str:
        """Return what stands in the window; empty when it is gone."""
        done = subprocess.run(
            [*self.tmux, "capture-pane", "-p"], capture_output=True, text=True, env=self.environment, check=False
        )
        return done.stdout

    def until(self, holds: Callable[[str], bool], seconds: float = 60.0) -> str:
        """Wait until what stands in the window is as it should be, and return it."""
        give_up = time.monotonic() + seconds
        while not holds(shown := self.screen()):
            assert time.monotonic() < give_up, shown
            time.sleep(0.1)
        return shown

    def wait_for(self, *texts: str, seconds: float = 60.0) -> str:
        """Wait until all of these stand in the window, and return what does."""
        return self.until(lambda shown: all(text in shown for text in texts), seconds)

    def stop(self) -> None:
        """End the server."""
        subprocess.run([*self.tmux, "kill-server"], env=self.environment, capture_output=True, check=False)
        self._socket.cleanup()

    def _tmux(self, *arguments: str) -> None:
        done = subprocess.run(
            [*self.tmux, *arguments], env=self.environment, check=False, capture_output=True, text=True, timeout=30
        )
        assert not done.returncode, f"tmux {arguments[0]}: {done.stderr}"
