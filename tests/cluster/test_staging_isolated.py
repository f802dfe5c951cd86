"""Staging to machines of their own: networks that carry it from node to node, and disks that get full."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.cluster.distribution import Distribution, Far, Item
from engine.cluster.hostfile import load_hostfile
from engine.cluster.objects import describe_local
from engine.cluster.session import NodeSession
from engine.cluster.staging import Request, Staged, Staging, Target
from engine.cluster.testbed import Testbed
from engine.errors import RunFailed
from tests.cluster.apart import write

MB = 1 << 20

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(Testbed.can_isolate() is not None, reason=f"nodes cannot be isolated: {Testbed.can_isolate()}"),
]


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    folder = tmp_path_factory.mktemp("isolated nodes")
    with Testbed.start(folder / "ssh", nodes=3, slots=1, workdir=folder / "work", isolated=True, disk_mb=24) as running:
        yield running


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this machine; the nodes have another one, so that they do not see what is below `~` here."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def stage(testbed: Testbed, here: Path, path: str, **more: int) -> Staged:
    targets = []
    for node in load_hostfile(testbed.hostfile).nodes:
        session = NodeSession.connect(node)
        targets.append(Target(node, lambda session=session: session, session.address))  # type: ignore[misc]
    return Staging(targets, Request([path]), objects=here / "x.objects", **more).carry_out()


def test_nodes_fetch_it_from_each_other_over_their_own_network(testbed: Testbed, here: Path) -> None:
    data = write(here / "plumbline test model.bin", 3 * MB)
    staged = stage(testbed, here, "~/plumbline test model.bin", fan_out=MB)
    assert (staged.sent, staged.fetched) == (len(data), 2 * len(data))


def test_a_disk_that_gets_full_meanwhile_is_told(testbed: Testbed, here: Path) -> None:
    write(here / "first.bin", 15 * MB)
    path = "~/plumbline test large.bin"
    write(here / path[2:], 12 * MB)
    node = load_hostfile(testbed.hostfile).nodes[0]
    with NodeSession.connect(node) as session:
        far = Far(node, session.address, session, str(node.workdir))
        # Both were looked at before; each alone would have fitted.
        items = [
            Item(name, "x.bin", describe_local(name, here / "hashes.json"), here=True) for name in ("~/first.bin", path)
        ]
        with ThreadPoolExecutor(1) as pool:
            Distribution(items[0], [far], lambda progress: None).to_each(pool)
            with pytest.raises(RunFailed, match=r"node-1: there is no room left in .*/work/.plumbline"):
                Distribution(items[1], [far], lambda progress: None).to_each(pool)
