"""References become paths that every node of the run sees, or the launch is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cluster.hostfile import local_hostfile, parse_hostfile
from engine.dispatch.homes import homes
from engine.dispatch.inputs import resolve_references
from engine.dispatch.placement import place, to_rows
from engine.errors import Refused
from engine.spec.loading import parse_spec
from engine.spec.models import AnySpec
from engine.spec.resolve import paths_by_key
from engine.store import attempts, experiments, facts
from engine.store.database import Store
from engine.store.inputs import Input
from engine.telemetry.reader import Chunk
from engine.telemetry.records import EventRecord
from engine.telemetry.states import State

SFT = "kind: sft\nname: facts-sft\nmodel: {architecture: {}}\ndata: {train: x}\nplacement: {nodes: %d}\n"
RM = "kind: rm\nmodel: {path: '${facts-sft.model}'}\ndata: {train: '${facts-sft.run}/pairs.jsonl', eval: /e}\n"
SHARED = "# plumbline: workdir=/data shared=yes\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "experiments.db")
    yield opened
    opened.close()


def ran(store: Store, hostfile: str | None, *, nodes: int = 1, run_dir: str = "/data/sft-0001-abc") -> None:
    """An SFT run on the first nodes of a hostfile that succeeded."""
    spec = parse_spec(SFT % nodes)
    hosts = local_hostfile() if hostfile is None else parse_hostfile(hostfile, "h")
    identity = experiments.create(store, spec, hostfile_text=hostfile)
    attempts.begin(store, identity, run_dir=run_dir, placement=to_rows(place(hosts.nodes, spec.placement)))
    event = EventRecord(2.0, 1, "artifact", "m", step=30, data={"kind": "model", "path": "export", "sha256": "ab" * 32})
    assert facts.ingest(store, identity, "events.jsonl", Chunk((event,), 9, (), False), 0)
    attempts.transition(store, identity, 1, State.SUCCEEDED)


def resolved(store: Store, hostfile: str | None) -> tuple[AnySpec, list[Input]]:
    hosts = local_hostfile() if hostfile is None else parse_hostfile(hostfile, "h")
    return resolve_references(store, parse_spec(RM), hosts)


def test_references_become_paths_and_say_where_they_come_from(store: Store) -> None:
    ran(store, None)
    spec, taken = resolved(store, None)
    assert paths_by_key(spec) == {
        "model.path": "/data/sft-0001-abc/export",
        "data.train": "/data/sft-0001-abc/pairs.jsonl",
        "data.eval": "/e",
    }
    assert [(each.reference, each.kind, each.step) for each in taken] == [
        ("${facts-sft.model}", "model", 30),
        ("${facts-sft.run}/pairs.jsonl", "run", 0),
    ]


def test_a_home_is_that_of_the_nodes_but_on_this_machine(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    ran(store, "a slots=1\n", run_dir="~/plumbline/x")
    assert paths_by_key(resolved(store, "a slots=1\n")[0])["model.path"] == "~/plumbline/x/export"
    ran(store, "# plumbline: workdir=~/w\nlocalhost slots=1\n", run_dir="~/w/y")
    assert paths_by_key(resolved(store, None)[0])["model.path"] == "/home/me/w/y/export"


@pytest.mark.parametrize("child", ["a slots=4\n", "b slots=1\n", None])
def test_the_path_is_that_of_the_nodes_that_have_it_wherever_the_child_runs(store: Store, child: str | None) -> None:
    ran(store, "a slots=1\nb slots=1\n", run_dir="~/x")
    assert paths_by_key(resolved(store, child)[0])["model.path"] == "~/x/export"
    assert [node.host for node in homes(store, "sft-0001")] == ["a"]


def test_what_is_not_there_is_told_with_the_key(store: Store) -> None:
    with pytest.raises(Refused) as caught:
        resolved(store, None)
    assert caught.value.message == "model.path is ${facts-sft.model}, but there is no experiment 'facts-sft'."
