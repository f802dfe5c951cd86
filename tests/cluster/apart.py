"""Loopback nodes with a home folder, and so a `~`, each of its own: paths below it are seen by one node only."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.cluster.hostfile import Node, load_hostfile
from engine.cluster.session import NodeSession
from engine.cluster.snapshot import Snapshot
from engine.cluster.staging import Request, Staged, Staging, Target
from engine.cluster.testbed import Testbed
from engine.cluster.testbed.files import config_of


class Apart:
    """Nodes that share nothing below their homes with each other, nor with `here`, the home of this machine."""

    def __init__(self, testbed: Testbed, folder: Path, count: int) -> None:
        self.testbed, self.folder, self.here = testbed, folder, folder / "here"
        self.homes = [folder / f"home-{index}" for index in range(1, count + 1)]
        self._nodes = [
            replace(node, workdir="~/work", shared=False) for node in load_hostfile(testbed.hostfile).nodes[:count]
        ]

    def clear(self) -> None:
        """Empty all homes."""
        for home in (self.here, *self.homes):
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)

    def node(self, index: int, **more: Any) -> Node:
        """Node number `index`, from 1."""
        return replace(self._nodes[index - 1], **more)

    def target(self, index: int, **more: Any) -> Target:
        """A node to stage to."""
        node = self.node(index, **more)
        return Target(node, lambda: NodeSession.connect(node), "127.0.0.1")

    def staging(
        self,
        paths: list[str],
        code: Snapshot | None = None,
        on: tuple[int, ...] | list[Target] = (1,),
        **more: Any,
    ) -> Staging:
        """A staging of paths to nodes."""
        targets = [each if isinstance(each, Target) else self.target(each) for each in on]
        return Staging(targets, Request(paths, code), objects=self.here / "experiments.objects", **more)

    def stage(self, paths: list[str], *rest: Any, **more: Any) -> Staged:
        """Stage paths to nodes."""
        return self.staging(paths, *rest, **more).carry_out()

    def there(self, index: int, path: str) -> Path:
        """What a path means on a node."""
        assert path.startswith("~/")
        return self.homes[index - 1] / path[2:]


@contextmanager
def nodes_apart(folder: Path, count: int) -> Iterator[Callable[[Any], Apart]]:
    """Nodes for a whole module; what is yielded empties them for a test and gives it the home of this machine."""
    with Testbed.start(folder / "testbed", nodes=count, slots=1, workdir=folder / "work") as testbed:
        apart = Apart(testbed, folder, count)
        for index, home in enumerate(apart.homes, 1):
            config = config_of(testbed.folder, f"node-{index}")
            config.write_text(config.read_text().replace("SetEnv ", f'SetEnv "HOME={home}" '))
            testbed.stop_node(index)
            testbed.start_node(index)

        def emptied(monkeypatch: Any) -> Apart:
            apart.clear()
            monkeypatch.setenv("HOME", str(apart.here))
            return apart

        yield emptied


def node_fixtures(count: int) -> tuple[Any, Any]:
    """Return the fixtures `module_nodes` and `nodes` of a module: so many nodes, emptied for each test."""

    @pytest.fixture(scope="module")
    def module_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Any], Apart]]:
        with nodes_apart(tmp_path_factory.mktemp("nodes"), count) as emptied:
            yield emptied

    @pytest.fixture
    def nodes(module_nodes: Callable[[Any], Apart], monkeypatch: pytest.MonkeyPatch) -> Apart:
        return module_nodes(monkeypatch)

    return module_nodes, nodes


def write(path: Path, size: int) -> bytes:
    """Write a file of random bytes, an hour ago; return them."""
    block = os.urandom(min(size, 1 << 20))
    data = (block * (size // max(1, len(block)) + 1))[:size]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    an_hour_ago = path.stat().st_mtime - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))
    return data
