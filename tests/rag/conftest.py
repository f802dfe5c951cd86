"""What the tests of indexes share: a tiny embedder, and a process that forks builds."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine.rag import updating
from engine.rag.opening import OpenIndex
from tests.rag.making import make_index, spec_of, write_rows
from tests.rag.tiny_embedder import make_embedder
from tests.rag.update_documents import base_documents
from tests.train.forkserver import ForkServer

if TYPE_CHECKING:
    from engine.rag.embedding.embedder import Encoder


@pytest.fixture(scope="session")
def tiny_embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedder") / "tiny"
    make_embedder(folder)
    return folder


@pytest.fixture(scope="session")
def rag_server() -> Iterator[ForkServer]:
    with ForkServer("rag build") as running:
        yield running


@pytest.fixture(scope="module")
def encoder(tiny_embedder: Path) -> Encoder:
    from engine.rag.embedding.embedder import load_encoder
    from engine.spec.rag import Embedder

    return load_encoder(Embedder(path=str(tiny_embedder), precision="fp32", batch_size=4))


@pytest.fixture
def loaded(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The embedder is loaded once for all tests; what is returned lists the passages that it embeds."""
    embedded: list[str] = []
    embed = encoder.passage_blocks

    def counted(blocks: Iterable[tuple[Any, list[str], Any]], ended: Callable[[], bool] = lambda: False) -> Any:
        def noted() -> Iterator[tuple[Any, list[str], Any]]:
            for tag, texts, done in blocks:
                embedded.extend(text for number, text in enumerate(texts) if done is None or not done[number])
                yield tag, texts, done

        return embed(noted(), ended)

    monkeypatch.setattr(encoder, "passage_blocks", counted)
    monkeypatch.setattr(updating, "require_embedder", lambda index: encoder)
    monkeypatch.setattr(OpenIndex, "load_encoder", lambda index: encoder)
    return embedded


@pytest.fixture(scope="module")
def words_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    return make_index(folder / "index", spec_of(write_rows(folder / "a.jsonl", base_documents(8))))


@pytest.fixture
def words(words_index: Path, tmp_path: Path) -> Path:
    """An index of eight documents, without vectors."""
    return shutil.copytree(words_index, tmp_path / "index")
