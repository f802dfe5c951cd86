"""The engine brought to real loopback nodes: it starts from their own environments, a second time costs nothing."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from engine.cluster.hostfile import Node, load_hostfile
from engine.cluster.setup import Outcome, Wishes, hostfile_lines, install
from engine.cluster.testbed import Testbed
from engine.cluster.wheel import build_wheel

pytestmark = pytest.mark.cluster  # a virtual environment takes seconds to make

ALONE = Wishes(dependencies=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel") / "made")


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Testbed]:
    with Testbed.start(tmp_path / "bed", nodes=2, slots=1, workdir=tmp_path / "work") as bed:
        yield bed


def bring(nodes: Sequence[Node], wheel: Path, scratch: Path, wishes: Wishes = ALONE) -> list[Outcome]:
    return install(nodes, wheel, None, wishes, scratch=scratch, progress=lambda host, what: None)


def asked(outcome: Outcome, program: str) -> str:
    assert outcome.python is not None
    said = subprocess.run([outcome.python, "-I", "-c", program], capture_output=True, text=True, check=True)
    return said.stdout.strip()


def test_a_shared_work_directory_gets_one_environment_and_then_only_what_differs(
    bed: Testbed, wheel: Path, tmp_path: Path
) -> None:
    nodes = load_hostfile(bed.hostfile).nodes
    scratch, python = tmp_path / "scratch", tmp_path / "work" / "venv" / "bin" / "python"
    outcomes = bring(nodes, wheel, scratch)
    assert [outcome.done for outcome in outcomes] == ["installed", "shared with node-1"], outcomes
    place = Path(asked(outcomes[1], "import engine; print(engine.__file__)"))
    assert place.is_relative_to(tmp_path / "work" / "venv")
    assert hostfile_lines(outcomes) == [f"# plumbline: python={python}"]

    made = place.stat().st_ino
    assert [outcome.done for outcome in bring(nodes, wheel, scratch)] == ["unchanged", "shared with node-1"]
    assert place.stat().st_ino == made

    changed = tmp_path / "changed" / wheel.name
    changed.parent.mkdir()
    changed.write_bytes(wheel.read_bytes())
    with zipfile.ZipFile(changed, "a") as archive:
        archive.comment = b"another wheel of the same version"
    assert bring(nodes, changed, scratch)[0].done == "updated"
    assert place.stat().st_ino != made

    broken = tmp_path / "broken" / wheel.name
    broken.parent.mkdir()
    broken.write_bytes(b"no zip archive")
    first, second = bring(nodes, broken, scratch)
    assert str(first.error).startswith("node-1: pip failed: ") and str(first.error).count("\n") == 0
    assert "Traceback" not in str(first.error)
    assert str(second.error) == "node-2: nothing was installed in the work directory that it shares."


def test_what_cannot_be_the_base_of_an_environment_is_named(bed: Testbed, wheel: Path, tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho 3 9\n")
    old.chmod(0o755)
    (tmp_path / "file").write_text("")
    # The companion of the first node runs on python3 then.
    lines = "# plumbline[node-1]: python=/nowhere/python\n"
    lines += f"# plumbline[node-2]: workdir={tmp_path}/file shared=no\n"
    bed.hostfile.write_text(bed.hostfile.read_text() + lines)
    nodes = load_hostfile(bed.hostfile).nodes

    def told(python: str) -> list[str]:
        outcomes = bring(nodes, wheel, tmp_path / "scratch", replace(ALONE, python=python))
        return [str(outcome.error) for outcome in outcomes]

    assert told("/nowhere/python")[0].startswith("node-1: /nowhere/python cannot be run there.")
    assert told(str(old))[0].startswith(f"node-1: {old} is Python 3.9; Plumbline needs 3.11 or newer.")
    [no_folder] = bring(nodes[1:], wheel, tmp_path / "scratch")
    assert str(no_folder.error).startswith(f"node-2: {tmp_path}/file/venv cannot be made: ")
