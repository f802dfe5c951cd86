"""What the tests of indexes share: a tiny embedder, and a process that forks builds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rag.tiny_embedder import make_embedder
from tests.train.forkserver import ForkServer


@pytest.fixture(scope="session")
def tiny_embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedder") / "tiny"
    make_embedder(folder)
    return folder


@pytest.fixture(scope="session")
def rag_server() -> Iterator[ForkServer]:
    with ForkServer("rag build") as running:
        yield running
