"""Notices: what is news is told once, by the ways that were asked for, and nothing in a name steers the terminal."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from textual.pilot import Pilot

from engine.errors import InvalidInput, NotFound
from engine.telemetry.states import State
from tests.tui.world import HOSTILE, World, drive, shows, until
from tui.notices import wishes
from tui.notices.changes import Notice, Seen, notices
from tui.notices.telling import desktop_notification
from tui.notices.watching import look
from tui.notices.webhook import post
from tui.notices.wishes import Wishes
from tui.widgets.status_line import StatusLine


def seen(state: State, **more: Any) -> dict[str, Seen]:
    """One experiment at one look."""
    return {"sft-0001": Seen("sft-0001", "one", state, **more)}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            seen(State.RUNNING),
            seen(State.FAILED, step=7, reason="no memory"),
            "sft-0001 (one) failed at step 7: no memory",
        ),
        (seen(State.RUNNING), seen(State.LOST, step=7), "sft-0001 (one) is lost at step 7."),
        (seen(State.QUEUED), seen(State.SUCCEEDED, step=9), "sft-0001 (one) succeeded at step 9."),
        (seen(State.RUNNING), seen(State.RUNNING, wrong={"nan": "loss is NaN"}), "sft-0001 (one): loss is NaN"),
        ({}, seen(State.RUNNING, wrong={"nan": "loss is NaN"}), "sft-0001 (one): loss is NaN"),
        (seen(State.RUNNING), seen(State.STOPPED), None),
        (seen(State.QUEUED), seen(State.RUNNING), None),
        (seen(State.FAILED), seen(State.FAILED), None),
        ({}, seen(State.FAILED), None),
        (seen(State.RUNNING, wrong={"nan": "at 3"}), seen(State.RUNNING, wrong={"nan": "at 4"}), None),
        (seen(State.RUNNING), {}, None),
    ],
)
def test_what_changed_between_two_looks_is_told(
    before: dict[str, Seen], after: dict[str, Seen], told: str | None
) -> None:
    assert [notice.sentence for notice in notices(before, after)] == ([told] if told else [])


def test_no_name_or_reason_ends_or_begins_an_escape_sequence() -> None:
    before = {"a": Seen("a", HOSTILE, State.RUNNING)}
    after = {"a": Seen("a", HOSTILE, State.FAILED, reason="\x1b\\\x9c\n\x07 " + "x" * 1000)}
    (notice,) = notices(before, after)
    assert notice.sentence.isprintable() and len(notice.sentence) < 300
    for sentence in (notice.sentence, HOSTILE):
        sequence = desktop_notification(sentence)
        assert sequence.startswith("\x1b]9;") and sequence.endswith("\x07") and sequence[4:-1].isprintable()


def test_a_look_finds_what_ended_and_what_is_wrong(world: World) -> None:
    for name in ("one", "two"):
        world.begin(world.add(name))
    world.train("sft-0001", range(1, 30))
    first = look(world.store, {}, health=True)
    assert set(first) == {"sft-0001", "sft-0002"} and not first["sft-0001"].wrong
    world.train("sft-0001", range(30, 34), loss=lambda step: float("nan"))
    world.end("sft-0002", State.FAILED, "no memory")
    second = look(world.store, first, health=True)
    assert second["sft-0001"].wrong and second["sft-0002"].state is State.FAILED
    assert [notice.event for notice in notices(first, second)] == ["verdict", "failed"]
    assert look(world.store, second, health=False)["sft-0001"].wrong == second["sft-0001"].wrong


class Receiver(BaseHTTPRequestHandler):
    """Takes JSON, answers with the number in the path."""

    got: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        Receiver.got.append(json.loads(content))
        self.send_response(int(self.path.strip("/")))
        self.send_header("Location", "/200")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[str]:
    Receiver.got = []
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_json_and_its_failure_is_a_sentence_without_the_url(receiver: str) -> None:
    notice = Notice("sft-0001", "one", "failed", "sft-0001 (one) failed at step 7.", 7)
    assert post(f"{receiver}/200", notice, 5) is None
    (got,) = Receiver.got
    assert got.pop("time") > 1e9
    assert got == {"text": notice.sentence, "event": "failed", "experiment": "sft-0001", "name": "one", "step": 7}
    for path, says in (("500", "HTTP 500"), ("302", "HTTP 302")):
        sentence = post(f"{receiver}/{path}", notice, 5)
        assert sentence is not None and says in sentence and "127.0.0.1" in sentence and receiver not in sentence
    assert len(Receiver.got) == 3
    sentence = post("http://127.0.0.1:9/secret", notice, 5)
    assert sentence is not None and "secret" not in sentence and "did not take" in sentence


def test_the_app_rings_posts_and_says_what_ended_while_it_is_open(world: World, receiver: str) -> None:
    world.begin(world.add("before"))
    world.end("sft-0001", State.FAILED, "long ago")
    for name in ("one", HOSTILE):
        world.begin(world.add(name))
    rung: list[None] = []
    app = world.app(wishes=Wishes(frozenset({"failed", "succeeded"}), osc9=True, webhook=f"{receiver}/500"))
    app.bell = lambda: rung.append(None)  # type: ignore[method-assign]

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "sft-0003", "● running")
        watcher = app._teller._watcher
        assert watcher is not None
        await until(pilot, lambda: watcher.known is not None and "sft-0003" in watcher.known)
        world.end("sft-0003", State.FAILED, "no memory")
        await until(pilot, lambda: len(Receiver.got) == 1)
        assert "‹202E›" in Receiver.got[0]["name"] and "no memory" in Receiver.got[0]["text"]
        await until(pilot, lambda: "HTTP 500" in pilot.app.screen.query_one(StatusLine).sentence)
        world.end("sft-0002", State.LOST, "nobody knows")
        await shows(pilot, "? lost")
        assert (len(rung), len(Receiver.got)) == (1, 1)

    drive(app, scenario)


def test_a_file_of_wishes(tmp_path: Path) -> None:
    file = tmp_path / "notify.yaml"
    file.write_text("on: [verdict]\nbell: false\nosc9: true\nwebhook: https://h.example/x\n")
    assert wishes.read(file) == Wishes(frozenset({"verdict"}), False, True, "https://h.example/x")
    file.write_text("")
    assert wishes.read(file) == Wishes() and Wishes().any and not Wishes(bell=False).any
    with pytest.raises(NotFound):
        wishes.read(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("onn: [failed]", "onn is no key. Its keys are on"),
        ("on: [crashed]", "must be a list of failed, lost"),
        ("bell: loud", "must be true or false"),
        ("webhook: file:///etc/passwd", "must be a URL"),
        ("webhook: [1]", "must be a URL"),
        ("- bell", "must have lines of KEY: VALUE"),
    ],
)
def test_a_wrong_file_of_wishes_is_refused_with_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "notify.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput) as refused:
        wishes.read(file)
    assert says in str(refused.value) and str(file) in str(refused.value)
