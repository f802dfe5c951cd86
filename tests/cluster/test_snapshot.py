"""The code that was launched is the code that runs, whatever is edited later."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cluster.snapshot import find_snapshot, take_snapshot
from engine.errors import Refused
from tests.cluster.apart import Apart, nodes_apart


@pytest.fixture(scope="module")
def module_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Any], Apart]]:
    with nodes_apart(tmp_path_factory.mktemp("nodes"), 1) as emptied:
        yield emptied


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of the engine's name that says "one"."""
    folder = tmp_path / "checkout/engine"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "deep/__init__.py").write_text("")
    (folder / "deep/template.mako").write_text("one")
    (folder / "__main__.py").write_text(
        "from pathlib import Path\nprint((Path(__file__).parent / 'deep/template.mako').read_text())\n"
    )
    return folder


def run(code: Path, *command: str) -> str:
    environ = {**os.environ, "PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [sys.executable, "-P", *command], env=environ, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_snapshot_is_the_same_while_the_code_is_and_stays_when_it_is_edited(package: Path, tmp_path: Path) -> None:
    objects = tmp_path / "x.objects"
    first = take_snapshot(objects, package)
    os.utime(package / "__main__.py")
    (package / "__pycache__").mkdir()
    (package / "__pycache__/x.pyc").write_bytes(b"x")
    (package / ".#lock").write_text("of an editor")
    assert take_snapshot(objects, package) == first
    (package / "deep/template.mako").write_text("two")
    second = take_snapshot(objects, package)
    assert second != first
    assert [run(each.path, "-m", "engine") for each in (first, second)] == ["one", "two"]
    # What Python compiled there is no change of the code.
    assert find_snapshot(objects, first.sha256) == first


def test_a_snapshot_that_was_changed_is_refused_and_made_anew_when_taken(package: Path, tmp_path: Path) -> None:
    objects = tmp_path / "x.objects"
    snapshot = take_snapshot(objects, package)
    file = snapshot.path / "engine/deep/template.mako"
    file.chmod(0o644)
    file.write_text("bad")
    with pytest.raises(Refused, match="the code that it was launched with is gone, or was changed"):
        find_snapshot(objects, snapshot.sha256)
    assert take_snapshot(objects, package) == snapshot == find_snapshot(objects, snapshot.sha256)
    assert file.read_text() == "one"


def test_the_engine_runs_from_its_snapshot_and_not_from_where_it_is_installed(tmp_path: Path) -> None:
    snapshot = take_snapshot(tmp_path / "x.objects")
    shown = run(snapshot.path, "-c", "import engine.cli.__main__ as m; print(m.__file__)")
    assert Path(shown) == snapshot.path / "engine/cli/__main__.py"


def test_a_node_gets_the_code_once_and_runs_what_was_launched(
    package: Path, module_nodes: Callable[[Any], Apart], monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = module_nodes(monkeypatch)
    # Below `~`, so that the node does not see it.
    snapshot = take_snapshot(nodes.here / "experiments.objects", package)
    hidden = type(snapshot)(snapshot.sha256, Path("~/experiments.objects") / snapshot.sha256 / "code")
    (package / "deep/template.mako").write_text("two")
    staged = nodes.stage([], hidden)
    assert staged.sent > 0 and staged.paths == {}
    code = staged.code_on[0]
    assert code is not None
    assert run(nodes.there(1, code), "-m", "engine") == "one"
    assert list(nodes.homes[0].rglob("__pycache__"))  # compiled once for all ranks
    assert nodes.stage([], hidden).sent == 0
