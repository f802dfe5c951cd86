"""The other programs: `wandb leet` and textual-plotext, in a virtual environment of their own, with the same data."""

from __future__ import annotations

import os
import subprocess
import venv
from dataclasses import dataclass
from pathlib import Path

WANTED = ("wandb==0.31.0", "textual-plotext==1.0.1", "plotext<6")
_HERE = Path(__file__).resolve().parent
# Nothing is sent anywhere, and nothing asks.
_ENVIRONMENT = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DISABLE_GIT": "true", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True, slots=True)
class Rivals:
    """An environment in which they are installed."""

    folder: Path

    @property
    def leet(self) -> list[str]:
        """The command of LEET, which shows the runs below `wandb` of its working folder."""
        return [str(self.folder / "bin" / "wandb"), "leet"]

    def environment(self, home: Path) -> dict[str, str]:
        """Return what their processes get. home: where they may keep what they like."""
        return _ENVIRONMENT | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}

    def script(self, name: str, *arguments: str | Path) -> list[str]:
        """Return the command of a script of this folder that runs in their environment."""
        return [str(self.folder / "bin" / "python"), str(_HERE / f"{name}.py"), *map(str, arguments)]

    def write_runs(self, home: Path, *arguments: str | Path) -> None:
        """Let wandb write runs; see `leet_runs`."""
        environment = os.environ | self.environment(home)
        subprocess.run(
            self.script("leet_runs", *arguments), env=environment, check=True, capture_output=True, timeout=300
        )


def install(folder: Path) -> Rivals | str:
    """Make the environment; where that cannot be done, return why, in one sentence."""
    try:
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, *WANTED], capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{' and '.join(WANTED[:2])} could not be installed: {error}."
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        return f"{' and '.join(WANTED[:2])} could not be installed: {last[:200]}"
    return Rivals(folder)
