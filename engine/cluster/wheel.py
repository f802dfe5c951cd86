"""Plumbline as one file that pip installs, made of the source that runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import engine
from engine.cluster.words import last_words
from engine.errors import Refused, RunFailed

SETUPTOOLS_NEEDED = 77  # as pyproject.toml says
BUILD_SECONDS = 300.0
_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "engine", "tui")
_EPOCH = "1577836800"  # the same source is the same wheel


def source_folder() -> Path:
    """Return the checkout that runs. Raises Refused where Plumbline was installed without one."""
    assert engine.__file__ is not None
    folder = Path(engine.__file__).parents[1]
    if not (folder / "pyproject.toml").exists():
        raise Refused(
            "Plumbline is installed here without its source, of which a wheel could be made.",
            hint="Name a wheel with --wheel FILE, or run this from a checkout.",
        )
    return folder


def constraints_file() -> Path | None:
    """Return the versions that this source was tested with, if it comes with them."""
    assert engine.__file__ is not None
    file = Path(engine.__file__).parents[1] / "constraints.txt"
    return file if file.exists() else None


def build_wheel(folder: Path) -> Path:
    """Make the wheel of the running source in a folder, and return its path.

    Raises:
        Refused: if there is no source.
        RunFailed: if pip cannot make it, with its last words.
    """
    source, copy = source_folder(), folder / "source"
    copy.mkdir(parents=True)
    for name in _SOURCES:  # a copy, since building leaves things behind
        path = source / name
        if path.is_dir():
            shutil.copytree(path, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.exists():
            shutil.copy2(path, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(copy)]
    if _has_setuptools():
        command.append("--no-build-isolation")  # then nothing is downloaded
    try:
        built = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=BUILD_SECONDS,
            env={**os.environ, "SOURCE_DATE_EPOCH": _EPOCH, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RunFailed(f"pip made no wheel of {source} within {BUILD_SECONDS:g} s.") from None
    wheels = sorted(folder.glob("*.whl"))
    if built.returncode != 0 or not wheels:
        raise RunFailed(f"pip cannot make a wheel of {source}: {last_words(built.stdout.splitlines())}.")
    return wheels[0]


def _has_setuptools() -> bool:
    try:
        return int(version("setuptools").split(".")[0]) >= SETUPTOOLS_NEEDED
    except (PackageNotFoundError, ValueError):
        return False
