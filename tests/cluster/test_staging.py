"""Inputs reach the nodes that lack them, once and whole, and nothing moves where it need not. Real SSH nodes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from engine.cluster import distribution
from engine.cluster.session import NodeSession
from engine.cluster.staging import Cancelled, Progress, Request, Staged, Staging, Target
from engine.errors import Refused, RunFailed, Unreachable
from tests.cluster.apart import Apart, node_fixtures, write

MB = 1 << 20


module_nodes, nodes = node_fixtures(2)


def model(home: Path, *, weights: int = 3 * MB) -> dict[str, bytes]:
    """A folder with a file of weights, small ones, an empty one, one below, and a link, as a hub's cache has them."""
    folder = home / "models/llama"
    files = {"weights.bin": weights, "config.json": 300, "empty": 0, "tokens/vocab ü.txt": 70_000}
    written = {name: write(folder / name, size) for name, size in files.items()}
    written["linked.json"] = write(home / "blobs/abc", 1000)
    (folder / "linked.json").symlink_to(home / "blobs/abc")
    return written


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_missing_is_sent_whole_and_the_second_time_nothing_is(nodes: Apart) -> None:
    files = model(nodes.here)
    data = write(nodes.here / "train.jsonl", 5000)
    paths = ["~/models/llama", "~/train.jsonl"]
    staged = nodes.stage(paths)
    assert files_of(nodes.there(1, staged.paths["~/models/llama"])) == files
    there = nodes.there(1, staged.paths["~/train.jsonl"])
    assert there.read_bytes() == data and there.suffix == ".jsonl"
    assert there.resolve().stat().st_mode & 0o222 == 0
    assert staged.sent == sum(map(len, files.values())) + len(data)
    again = nodes.stage(paths)
    assert (again.sent, again.paths) == (0, staged.paths)


def test_where_all_see_the_same_nothing_is_copied_nor_read(nodes: Apart, tmp_path: Path) -> None:
    shared = tmp_path / "shared.jsonl"
    write(shared, 1000)
    progress: list[Progress] = []
    staged = nodes.stage([str(shared)], on=(1, 2), report=progress.append)
    assert (staged.sent, dict(staged.paths), progress) == (0, {}, [])
    assert not (nodes.homes[0] / "work").exists()


def test_equal_copies_on_all_nodes_are_used_in_place(nodes: Apart) -> None:
    data = write(nodes.here / "train.jsonl", 1000)
    for home in nodes.homes:
        write(home / "train.jsonl", 0)
        (home / "train.jsonl").write_bytes(data)
    staged = nodes.stage(["~/train.jsonl"], on=(1, 2))
    assert (staged.sent, dict(staged.paths)) == (0, {})


@pytest.mark.parametrize("here", [True, False])
def test_another_content_at_the_same_path_is_refused_with_both_hashes(nodes: Apart, here: bool) -> None:
    for home in (*nodes.homes[: 1 if here else 2], *([nodes.here] if here else [])):
        write(home / "train.jsonl", 1000)
    with pytest.raises(Refused, match=r"~/train.jsonl is not the same everywhere: on .* its SHA-256 is \w{12}…, on"):
        nodes.stage(["~/train.jsonl"], on=(1, 2))


def test_a_node_that_has_it_uses_its_own_and_the_other_one_gets_it(nodes: Apart) -> None:
    data = write(nodes.here / "train.jsonl", 1000)
    (nodes.homes[1] / "train.jsonl").write_bytes(data)
    staged = nodes.stage(["~/train.jsonl"], on=(1, 2))
    assert staged.sent == 1000
    there = [nodes.there(index, staged.paths["~/train.jsonl"]) for index in (1, 2)]
    assert [path.read_bytes() for path in there] == [data, data]
    assert there[1].resolve() == nodes.homes[1] / "train.jsonl"


def test_what_only_another_node_has_is_fetched_from_there(nodes: Apart) -> None:
    files = model(nodes.homes[1])
    staged = nodes.stage(["~/models/llama"], on=(1, 2))
    assert (staged.sent, staged.fetched) == (0, sum(map(len, files.values())))
    assert files_of(nodes.there(1, staged.paths["~/models/llama"])) == files


def test_what_only_a_node_outside_the_run_has_is_fetched_from_there(nodes: Apart) -> None:
    data = write(nodes.homes[1] / "model.bin", 1000)
    request = Request(["~/model.bin"], others=[nodes.target(2)])
    staged = Staging([nodes.target(1)], request, objects=nodes.here / "x.objects").carry_out()
    assert (staged.sent, staged.fetched) == (0, 1000)
    assert nodes.there(1, staged.paths["~/model.bin"]).read_bytes() == data
    assert not list((nodes.homes[1] / "work/.plumbline").glob("objects/*"))


def test_what_is_nowhere_is_refused_by_name(nodes: Apart) -> None:
    with pytest.raises(Refused, match=r"needs ~/gone.jsonl, which is not there: node-1 and this machine lack it"):
        nodes.stage(["~/gone.jsonl"])


def test_what_is_no_file_is_refused_by_name(nodes: Apart) -> None:
    model(nodes.here)
    os.mkfifo(nodes.here / "models/llama/pipe")
    with pytest.raises(Refused, match=r"models/llama/pipe is neither a file nor a folder"):
        nodes.stage(["~/models/llama"])
    (nodes.here / "models/llama/pipe").unlink()
    (nodes.here / "models/llama/loop").symlink_to(nodes.here / "models")
    with pytest.raises(Refused, match=r"models/llama/loop/llama is a link to a folder above it"):
        nodes.stage(["~/models/llama"])
    os.mkfifo(nodes.homes[0] / "pipe")
    with pytest.raises(Refused, match=r"node-1: .*/pipe is neither a file nor a folder"):
        nodes.stage(["~/pipe"])


def test_what_does_not_fit_is_refused_before_anything_is_sent(nodes: Apart) -> None:
    big = nodes.here / "big.bin"
    with big.open("wb") as file:
        file.truncate(1 << 43)
    os.utime(big, (1e9, 1e9))
    status = big.stat()
    # Nobody has the time to hash it.
    known = {str(big): [status.st_size, status.st_mtime_ns, status.st_ino, "0" * 64]}
    (nodes.here / "experiments.objects").mkdir()
    (nodes.here / "experiments.objects/hashes.json").write_text(json.dumps(known))
    with pytest.raises(Refused, match=r"node-1: needs 8.8 TB in .*/work/.plumbline/objects, .* are free"):
        nodes.stage(["~/big.bin"])
    assert not list((nodes.homes[0] / "work/.plumbline/objects").iterdir())


class _Cutting:
    """A session that goes away after so many pieces."""

    def __init__(self, session: NodeSession, pieces: int) -> None:
        self._session, self._left = session, pieces

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def tell(self, *arguments: Any, **more: Any) -> None:
        if self._left == 0:
            self._session.close()
        self._left -= 1
        self._session.tell(*arguments, **more)


def cutting(nodes: Apart, pieces: int) -> Target:
    whole = nodes.target(1)
    return Target(whole.node, lambda: _Cutting(whole.open(), pieces), whole.address)  # type: ignore[arg-type, return-value]


def test_what_was_cut_off_in_the_middle_goes_on_where_it_was(nodes: Apart) -> None:
    data = write(nodes.here / "big.bin", 30 * MB + 17)
    with pytest.raises(Unreachable):
        nodes.stage(["~/big.bin"], on=[cutting(nodes, 20)])
    (part,) = (nodes.homes[0] / "work/.plumbline/objects").glob("*/.parts/0")
    staged = nodes.stage(["~/big.bin"])
    there = nodes.there(1, staged.paths["~/big.bin"])
    assert there.read_bytes() == data and not part.exists()
    # What had not been written when the connection went is sent again: at most the window.
    assert 10 * MB + 17 <= staged.sent <= 10 * MB + 17 + distribution.WINDOW_BYTES


def test_a_part_that_was_damaged_is_begun_anew(nodes: Apart) -> None:
    data = write(nodes.here / "big.bin", 30 * MB)
    with pytest.raises(Unreachable):
        nodes.stage(["~/big.bin"], on=[cutting(nodes, 20)])
    (part,) = (nodes.homes[0] / "work/.plumbline/objects").glob("*/.parts/0")
    with part.open("r+b") as file:
        file.seek(5 * MB)
        file.write(b"damage")
    staged = nodes.stage(["~/big.bin"])
    assert nodes.there(1, staged.paths["~/big.bin"]).read_bytes() == data
    assert staged.sent > len(data)


def test_an_object_that_was_damaged_later_is_mended(nodes: Apart) -> None:
    files = model(nodes.here, weights=1000)
    staged = nodes.stage(["~/models/llama"])
    there = nodes.there(1, staged.paths["~/models/llama"])
    (there / "config.json").chmod(0o644)
    (there / "config.json").write_bytes(b"x" * 300)
    assert nodes.stage(["~/models/llama"]).sent == 300
    assert files_of(there) == files


def test_a_file_that_changes_while_it_is_sent_is_noticed(nodes: Apart) -> None:
    write(nodes.here / "big.bin", 40 * MB)

    def edit(progress: Progress) -> None:
        if progress.doing == distribution.SENDING:
            with (nodes.here / "big.bin").open("r+b") as file:
                file.seek(39 * MB)
                file.write(b"edited")

    with pytest.raises(RunFailed, match=r"big.bin arrives with another content than was announced"):
        nodes.stage(["~/big.bin"], report=edit)


def test_two_controllers_send_the_same_object_and_it_is_written_once(nodes: Apart) -> None:
    data = write(nodes.here / "big.bin", 30 * MB)
    stagings = [nodes.staging(["~/big.bin"]) for _ in range(2)]
    for staging in stagings:
        staging.start()
    give_up = time.monotonic() + 60
    while any(staging.outcome is None for staging in stagings):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    outcomes = [staging.outcome for staging in stagings]
    assert sum(outcome.sent for outcome in outcomes if isinstance(outcome, Staged)) == len(data), outcomes


def test_a_shared_work_directory_gets_it_once_and_all_must_see_it(nodes: Apart, tmp_path: Path) -> None:
    write(nodes.here / "train.jsonl", 1000)
    one = [nodes.target(index, workdir=str(tmp_path / "work"), shared=True) for index in (1, 2)]
    assert nodes.stage(["~/train.jsonl"], on=one).sent == 1000
    apart = [nodes.target(index, shared=True) for index in (1, 2)]
    with pytest.raises(Refused, match=r"node-2: does not see .*, which node-1 has"):
        nodes.stage(["~/train.jsonl"], on=apart)


def test_staging_can_be_broken_off(nodes: Apart) -> None:
    write(nodes.here / "big.bin", 60 * MB)
    begun: list[Staging] = []
    staging = nodes.staging(["~/big.bin"], report=lambda progress: begun[0].cancel())
    begun.append(staging)
    with pytest.raises(Cancelled):
        staging.carry_out()


def test_a_node_that_cannot_be_reached_ends_it(nodes: Apart) -> None:
    def nobody() -> NodeSession:
        raise Unreachable("nobody is there.", where="node-9")

    write(nodes.here / "train.jsonl", 1000)
    gone = Target(nodes.node(2), nobody, "127.0.0.1")
    with pytest.raises(Unreachable, match="nobody is there"):
        Staging([nodes.target(1), gone], Request(["~/train.jsonl"]), objects=nodes.here / "x.objects").carry_out()
