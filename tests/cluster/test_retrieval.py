"""What runs made comes back whole: only what lacks is brought, and nothing else is touched. Real SSH nodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.cluster.retrieval import Brought, bring, open_source
from engine.cluster.session import NodeSession
from engine.errors import NotFound, Refused, RunFailed, Unreachable
from engine.job.durable import folder_hash
from tests.cluster.apart import Apart, node_fixtures, write

MB = 1 << 20
RUN = "~/work/sft-0001"


module_nodes, nodes = node_fixtures(1)


@pytest.fixture
def made(nodes: Apart) -> Path:
    """A run's folder on node-1."""
    folder = nodes.homes[0] / "work/sft-0001"
    for name, size in {"model/weights.bin": 5 * MB + 1, "model/config.json": 300, "empty": 0}.items():
        write(folder / name, size)
    return folder


def brought(nodes: Apart, folder: Path, path: str = RUN, **more: Any) -> Brought:
    source = open_source(nodes.node(1), path)
    with source.session:
        return bring(source, folder, **more)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_comes_back_whole_and_the_second_time_nothing_moves(nodes: Apart, made: Path) -> None:
    here = nodes.here / "out"
    first = brought(nodes, here, sha256=folder_hash(made))
    assert files_of(here) == files_of(made)
    assert (first.copied, first.files) == (5 * MB + 301, 3)
    assert brought(nodes, here).copied == 0


def test_a_file_comes_back_under_its_name(nodes: Apart, made: Path) -> None:
    one = brought(nodes, nodes.here / "out", f"{RUN}/model/config.json")
    assert one.files == 1
    assert (nodes.here / "out/config.json").read_bytes() == (made / "model/config.json").read_bytes()


class _Cutting:
    """A session that goes away after so many pieces."""

    def __init__(self, session: NodeSession, pieces: int) -> None:
        self._session, self._left = session, pieces

    def ask(self, operation: str, *, on_piece: Any = None, **more: Any) -> Any:
        def hear(header: Any, data: bytes) -> None:
            if self._left == 0:
                self._session.close()
                raise Unreachable("cut off.")
            self._left -= 1
            on_piece(header, data)

        return self._session.ask(operation, on_piece=hear if on_piece else None, **more)


@pytest.mark.parametrize("damaged", [False, True])
def test_what_was_cut_off_goes_on_where_it_was_and_a_damaged_part_is_begun_anew(
    nodes: Apart, made: Path, damaged: bool
) -> None:
    here, pieces = nodes.here / "out", 12
    source = open_source(nodes.node(1), RUN)
    with pytest.raises(Unreachable):
        bring(replace(source, session=_Cutting(source.session, pieces)), here)  # type: ignore[arg-type]
    part = here / "model/weights.bin.part"
    size = part.stat().st_size
    assert 0 < size < 5 * MB
    if damaged:
        part.write_bytes(b"x" * size)
    done = brought(nodes, here)
    assert files_of(here) == files_of(made)
    assert done.copied == 5 * MB + 1 - size + (5 * MB + 1 if damaged else 0)


def test_a_file_that_grew_is_gone_on_with(nodes: Apart, made: Path) -> None:
    (made / "metrics.jsonl").write_text("one\n")
    brought(nodes, nodes.here / "out")
    (made / "metrics.jsonl").write_text("one\ntwo\n")
    assert brought(nodes, nodes.here / "out").copied == 4
    assert files_of(nodes.here / "out") == files_of(made)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("model/config.json", b"x" * 300, "model/config.json is another one than on node-1"),
        ("model/config.json", b"x" * 301, "model/config.json is another one than on node-1"),
        ("thesis.tex", b"mine", "holds another file: thesis.tex"),
    ],
)
def test_what_lies_there_is_never_overwritten(nodes: Apart, made: Path, name: str, text: bytes, told: str) -> None:
    here = nodes.here / "out"
    (here / name).parent.mkdir(parents=True)
    (here / name).write_bytes(text)
    with pytest.raises(Refused, match=told):
        brought(nodes, here)
    assert files_of(here) == {name: text}


def test_what_was_changed_since_it_was_made_is_told(nodes: Apart, made: Path) -> None:
    written_down = folder_hash(made)
    (made / "model/config.json").write_bytes(b"{}")
    with pytest.raises(RunFailed, match=r"written down when it was made: it was changed since"):
        brought(nodes, nodes.here / "out", sha256=written_down)


def test_what_this_machine_sees_is_read_here(nodes: Apart, tmp_path: Path) -> None:
    write(tmp_path / "shared/weights.bin", 1000)
    source = open_source(nodes.node(1), str(tmp_path / "shared"))
    with source.session:
        assert (source.session.host, source.host) == ("localhost", "node-1")
        bring(source, nodes.here / "out")
    assert files_of(nodes.here / "out") == files_of(tmp_path / "shared")


def test_what_is_gone_is_told_by_name(nodes: Apart) -> None:
    with pytest.raises(NotFound, match=r"node-1: ~/work/sft-0009 is not there"):
        open_source(nodes.node(1), "~/work/sft-0009")


def test_a_node_cannot_write_anywhere_else(nodes: Apart, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = NodeSession.ask

    def lying(session: NodeSession, operation: str, **more: Any) -> Any:
        answer = honest(session, operation, **more)
        return {**answer, "files": [["../../x", 1, 0, 0]]} if operation == "listing" else answer

    monkeypatch.setattr(NodeSession, "ask", lying)
    with pytest.raises(RunFailed, match="is no path below a folder"):
        open_source(nodes.node(1), RUN)
