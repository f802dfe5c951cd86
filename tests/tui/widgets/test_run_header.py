"""The line that tells how a run stands, and the banner above its charts."""

from __future__ import annotations

import dataclasses
import time

import pytest

from engine.dispatch.survey import SurveyReader
from engine.store.attempts import Contact
from engine.store.experiment import Experiment
from engine.telemetry.health_observed import Act, Verdict
from engine.telemetry.numbers import duration
from engine.telemetry.records import Level
from engine.telemetry.states import Desired, State
from tests.tui.world import HOSTILE, World
from tui.canvas.charset import UNICODE
from tui.run.detail import DetailReader, detail_text
from tui.run.facts import RunFacts, RunReader
from tui.widgets.banner import news
from tui.widgets.run_header import header_parts


@pytest.fixture
def facts(world: World) -> RunFacts:
    """What is known of a run at step 42 of 100, of 2 s each."""
    identity = world.add("one")
    world.begin(identity, hosts=("n1", "n2"))
    world.train(identity, range(1, 43), seconds_per_step=2.0)
    world.checkpoint(identity, 40)
    found = RunReader(world.store, identity).read()
    heard = found.experiment.heard_at
    assert heard is not None
    return dataclasses.replace(found, attempts=[dataclasses.replace(found.attempts[0], started_at=heard + 3 - 84)])


def changed(facts: RunFacts, **changes: object) -> RunFacts:
    """The same, the experiment changed."""
    names = {field.name for field in dataclasses.fields(RunFacts)}
    own = {name: value for name, value in changes.items() if name in names}
    rest = {name: value for name, value in changes.items() if name not in names}
    experiment: Experiment = dataclasses.replace(facts.experiment, **rest)  # type: ignore[arg-type]
    return dataclasses.replace(facts, experiment=experiment, **own)  # type: ignore[arg-type]


def words(facts: RunFacts, now: float) -> list[str]:
    return [part.text for part in header_parts(facts, now, UNICODE) if part.text]


def test_the_header_tells_state_place_pace_checkpoint_and_age(facts: RunFacts) -> None:
    heard = facts.experiment.heard_at
    assert heard is not None
    expected = ["● running", "step 42/100", "42%", "ETA 1m56", "12k tok/s", "⚑ 40", "data 3 s old"]
    assert words(facts, heard + 3) == expected
    assert words(changed(facts, desired=Desired.STOP), heard)[0] == "● running, stopping"
    ended = changed(facts, state=State.STOPPED, desired=Desired.STOP, started_at=heard - 60, ended_at=heard)
    assert words(ended, heard + 7200) == ["■ stopped", "step 42/100", "42%", "took 1m00", "⚑ 40", "ended 2h ago"]
    queued = changed(
        facts, state=State.QUEUED, step=0, total_steps=None, heard_at=None, created_at=heard - 61, events=()
    )
    assert words(queued, heard) == ["○ queued", "waits 1m01", "no data yet"]
    old = header_parts(facts, heard + 30, UNICODE)[-1]
    assert (old.text, old.ink) == ("data 30 s old", "old")


def test_the_banner_tells_what_matters_most_first(facts: RunFacts) -> None:
    now = 1e9

    def contact(seconds: float | None, message: str | None = None, attempt: int = 1) -> Contact:
        return Contact(attempt, 1, "n2", None if seconds is None else now - seconds, message, None, False)

    assert news(facts, now) is None
    assert news(changed(facts, contacts=[contact(1.0)]), now) is None
    assert news(changed(facts, contacts=[contact(500.0, attempt=0)]), now) is None
    silent = changed(facts, contacts=[contact(1.0), contact(41.0, HOSTILE), contact(None)], reason="waits")
    level, sentence = news(silent, now) or ("", "")
    assert level == "warning" and sentence.isprintable()
    assert sentence.startswith("n2 silent 41 s (") and "n2 not heard yet, reconnecting" in sentence
    many = changed(facts, contacts=[contact(41.0)] * 8)
    assert news(many, now) == (
        "warning",
        "n2 silent 41 s, n2 silent 41 s, n2 silent 41 s, 5 more nodes, reconnecting — values below are old.",
    )
    failed = changed(silent, state=State.FAILED, reason="rank 1 exited\nwith code 1")
    assert news(failed, now) == ("error", "rank 1 exited with code 1. R resumes it from the checkpoint of step 40.")
    bare = changed(failed, events=(), reason=None)
    assert news(bare, now) == ("error", "The run is failed. R resumes it from the beginning.")
    spikes = Verdict("gradient_spikes", Level.WARNING, "Spikes.", 3, "", Act.INTERRUPT)
    lost = Verdict("not_finite", Level.ERROR, f"{HOSTILE} is no finite number.", 2, "", Act.KILL)
    one = changed(facts, verdicts=[spikes])
    assert news(one, now) == ("warning", "Spikes. I stops it with a checkpoint.")
    level, sentence = news(changed(facts, verdicts=[lost, spikes]), now) or ("", "")
    assert level == "error" and sentence.isprintable()
    assert sentence.endswith("is no finite number. K stops it at once. 1 of 2: ! shows all.")
    waits = changed(facts, state=State.QUEUED, reason="waits for 8 slots")
    assert news(waits, now) == ("information", "waits for 8 slots.")


def test_the_time_that_is_left_is_the_same_wherever_it_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = world.add("one", hostfile="hosts", hostfile_text="n1 slots=1\n")
    world.begin(identity, hosts=("n1",))
    world.train(identity, range(1, 43), seconds_per_step=2.0)
    facts, now = RunReader(world.store, identity).read(), time.time() + 4200
    monkeypatch.setattr(time, "time", lambda: now)
    told = next(word for word in words(facts, now) if word.startswith("ETA ")).removeprefix("ETA ")
    assert told.startswith("1h36")
    assert f"ETA       {told}" in str(detail_text(DetailReader(world.store).read(identity), now, 60))
    (running,) = SurveyReader(world.store).read().running
    assert running.ends_at is not None and duration(running.ends_at - now) == told
