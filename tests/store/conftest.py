"""What the tests of the store share."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.spec.models import AnySpec, SftSpec
from engine.store import experiments
from engine.store.database import Store
from engine.telemetry.states import State

ROOT = Path(__file__).parents[2]


def make_spec(**settings: Any) -> AnySpec:
    """A valid spec."""
    document: dict[str, Any] = {"model": {"architecture": {}, "tokenizer": {}}, "data": {"train": "facts.jsonl"}}
    return SftSpec.model_validate(document | settings)


Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start Python programs in processes of their own; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "experiments.db")
    yield opened
    opened.close()


def create(store: Store, name: str | None = None, **more: Any) -> str:
    """Create an experiment and return its id."""
    return experiments.create(store, make_spec(), name=name, **more)


def end(store: Store, identity: str, state: State = State.SUCCEEDED) -> None:
    """End an experiment."""
    experiments.set_state(store, identity, state)
