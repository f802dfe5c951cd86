"""`engine report`: files of each form, answers brought from where they lie, one sentence where they cannot be had."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import lxml.html
import pytest

from engine.cluster import retrieval
from engine.cluster.hostfile import Node
from engine.dispatch import homes
from engine.errors import Unreachable
from engine.evaluate.results import read_panel
from tests.cli.conftest import Engine, Result
from tests.report.world import World, fill


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = fill(tmp_path, 20, ("sft", "ppo"))
    made.store.close()
    return made


def silent(asked: list[str]) -> Callable[[Node, str], None]:
    """A node that nobody reaches."""

    def open_source(node: Node, path: str) -> None:
        asked.append(path)
        raise Unreachable("node-1 does not answer.", where="node-1")

    return open_source


def test_each_form_is_written_and_says_the_same(engine: Engine, world: World, tmp_path: Path) -> None:
    names = [tmp_path / f"out.{suffix}" for suffix in ("html", "md", "json")]
    done = engine("report", "facts-ppo", *(part for name in names for part in ("-o", str(name))), "--json")
    assert done.code == 0, done.err
    assert done.json["notes"] == [] and [one["format"] for one in done.json["files"]] == ["html", "md", "json"]
    assert {"sft-0001", "ppo-0001", "eval-0001", "eval-0002"} <= set(done.json["experiments"])
    page = lxml.html.parse(str(names[0])).getroot()
    told = json.loads(names[2].read_text())
    value = told["headlines"][0]["measured"][0]["part"]["figures"]["correct"]["value"]
    assert f"{100 * value:.1f}%" in page.find_class("headline")[0].text_content()
    assert f"| {100 * value:.1f}% (" in names[1].read_text()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_answers_that_cannot_be_reached_cost_one_sentence(
    engine: Engine, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in world.evaluations.values():
        shutil.rmtree(folder)
    asked: list[str] = []
    monkeypatch.setattr(retrieval, "open_source", silent(asked))
    monkeypatch.setattr(homes, "homes", lambda store, identity: [Node("node-1", 2)])
    done = engine("report", "facts-ppo", "-o", str(tmp_path / "out.html"))
    assert done.code == 0, done.err
    sentences = [line for line in done.err.splitlines() if "node-1 does not answer" in line]
    assert len(sentences) == 1 and "eval-0001, eval-0002" in sentences[0]
    assert len(asked) == 1, "a node that does not answer is asked once"
    html = (tmp_path / "out.html").read_text()
    assert "node-1 does not answer" in html and "By the database alone" in html


def test_answers_from_elsewhere_are_brought_once_and_kept(
    engine: Engine, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels = {identity: read_panel(folder) for identity, folder in world.evaluations.items()}
    elsewhere = tmp_path / "node-1"
    shutil.move(world.folder, elsewhere)
    opened: list[str] = []
    real = retrieval.open_source

    def open_there(node: Node, path: str) -> retrieval.Source:
        opened.append(path)
        return real(node, path.replace(str(world.folder), str(elsewhere)))

    monkeypatch.setattr(retrieval, "open_source", open_there)
    monkeypatch.setattr(homes, "homes", lambda store, identity: list(homes.local_hostfile().nodes))

    def run() -> Result:
        return engine("report", "facts-ppo", "-o", str(tmp_path / "out.json"), "--json")

    first = run()
    assert first.code == 0 and first.json["notes"] == [], first.out
    assert sum(path.endswith("/evaluation") for path in opened) == 2
    for one in json.loads((tmp_path / "out.json").read_text())["headlines"][0]["measured"]:
        assert one["part"]["figures"] == panels[one["evaluation"]]["figures"]
    written = (tmp_path / "out.json").read_bytes()
    opened.clear()
    shutil.rmtree(elsewhere)
    assert run().json["notes"] == [] and not [path for path in opened if path.endswith("/evaluation")]
    assert (tmp_path / "out.json").read_bytes() == written


def test_answers_that_were_changed_since_do_not_count(engine: Engine, world: World, tmp_path: Path) -> None:
    (world.evaluations["eval-0001"] / "panel.json").write_text("{}")
    done = engine("report", "facts-ppo", "-o", str(tmp_path / "out.json"), "--local", "--json")
    assert done.code == 0 and len(done.json["notes"]) == 1 and "eval-0001" in done.json["notes"][0]


def test_what_cannot_be_done_is_said(engine: Engine, world: World, tmp_path: Path) -> None:
    for arguments, code, said in (
        (("facts-ppo", "-o", "out.docx"), 2, ".html, .md or .json"),
        (("facts-ppo",), 2, "--output"),
        (("nothing-such", "-o", str(tmp_path / "out.html")), 3, "nothing-such"),
        (("facts-ppo", "-o", str(tmp_path / "no/such/out.html")), 1, "cannot be written"),
    ):
        done = engine("report", *arguments)
        assert done.code == code and said in done.err, arguments
