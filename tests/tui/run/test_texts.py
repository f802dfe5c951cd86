"""Events, samples, spec and relatives of a run as text: what stands in them, in any width, and nothing is obeyed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from engine.store import experiments
from engine.store.events import Event
from engine.store.pedigree import Pedigree, Relative
from engine.store.samples import Sample
from engine.telemetry.health_observed import Act, Verdict
from engine.telemetry.records import Level
from engine.telemetry.states import State
from tests.tui.world import HOSTILE, World
from tui.run.events import events_lines
from tui.run.facts import RunReader
from tui.run.samples import parted, samples_lines
from tui.run.spec_text import keyed, spec_lines
from tui.text.wrapping import wrapped
from tui.widgets.family import family_entries

samples = st.builds(
    Sample,
    attempt=st.just(1),
    step=st.integers(0, 5),
    time=st.just(0.0),
    prompt=st.text(max_size=80),
    response=st.text(max_size=80),
    reference=st.none() | st.text(max_size=20),
    scores=st.dictionaries(st.text(max_size=5), st.floats(), max_size=2),
)
events = st.builds(
    Event,
    id=st.integers(1, 9),
    attempt=st.just(1),
    time=st.floats(0, 2e9),
    step=st.none() | st.integers(0, 10**7),
    level=st.sampled_from(Level),
    event=st.just("warning"),
    message=st.text(max_size=200),
    data=st.just({}),
)


@settings(max_examples=80)
@given(st.lists(samples, max_size=6), st.lists(events, max_size=6), st.integers(24, 120))
def test_no_line_is_wider_than_the_pane_and_all_is_printable(
    found: list[Sample], told: list[Event], width: int
) -> None:
    for lines in (samples_lines(found, "eval"), events_lines(told)):
        for line in wrapped(lines, width).plain.split("\n"):
            assert cell_len(line) <= width and line.isprintable()


def test_samples_are_told_newest_step_first_with_what_they_should_have_been() -> None:
    found = [
        Sample(1, 100, 0.0, "Who?", "Nobody.", "George Eliot.", {"exact": 0.0}),
        Sample(1, 100, 0.0, "When?", "1871", None, {}),
        Sample(1, 200, 0.0, f"Who? {HOSTILE}", "George  Eliot.", "George Eliot.", {}),
    ]
    assert wrapped(samples_lines(found), 60).plain.splitlines() == [
        "step 200  1 sample",
        "prompt      Who? [red]gone[/red] ‹202E›‹07›",
        "response ✔  George  Eliot.",
        "",
        "step 100  2 samples",
        "prompt      Who?",
        "response    Nobody.",
        "reference   George Eliot.",
        "scores      exact 0",
        "",
        "prompt      When?",
        "response    1871",
    ]


def test_events_are_told_newest_first_and_bad_ones_have_a_sign() -> None:
    told = [
        Event(1, 1, 0.0, 10, Level.INFO, "checkpoint", "Saved it.", {}),
        Event(2, 1, 1.0, None, Level.ERROR, "failed", "It broke\nbadly.", {}),
        Event(3, 1, 2.0, 11, Level.WARNING, "warning", "Slow.", {}),
    ]
    shown = [line[10:] for line in wrapped(events_lines(told), 80).plain.splitlines()]
    assert shown == ["step 11     ! Slow.", "            ✖ It broke badly.", "step 10       Saved it."]


def test_verdicts_stand_above_the_events_with_their_evidence_and_the_key_that_acts() -> None:
    verdict = Verdict("hacking", Level.WARNING, f"Longer{HOSTILE}.", 350, "214 tokens now", Act.SAMPLES)
    shown = wrapped(events_lines([Event(1, 1, 0.0, 10, Level.INFO, "x", "Saved it.", {})], [verdict]), 100).plain
    assert shown.splitlines()[:4] == [
        "health now",
        "since     step 350    ! Longer[red]gone[/red] ‹202E›‹07›. s shows what it writes.",
        "                        evidence: 214 tokens now",
        "",
    ]
    assert "what happened" in shown and shown.endswith("Saved it.")


def test_passages_rewards_and_the_verdict_of_a_sample_stand_apart() -> None:
    prompt = (
        "Answer from these.\n\nPassages:\n[1] Middlemarch: by Eliot.\n[2] Emma: by Austen.\n\nQuestion: Who wrote it?"
    )
    scores = {"correct": 0.0, "abstained": 0.0, "hallucinated": 1.0, "confidence": 0.9}
    asked = Sample(1, 5, 0.0, prompt, "Brontë.", "Eliot.", scores)
    assert wrapped(samples_lines([asked], "eval"), 60).plain.splitlines()[1:] == [
        "passages    [1] Middlemarch: by Eliot.",
        "            [2] Emma: by Austen.",
        "prompt      Who wrote it?",
        "response    Brontë.",
        "reference   Eliot.",
        "verdict     ✖ hallucinated",
        "scores      confidence 0.9",
    ]
    rewarded = Sample(
        1, 5, 0.0, "It is by Eliot.\nWho?", "Eliot.", None, {"score": 0.5, "reward/exact": 0.7, "kl": 3.0}
    )
    assert wrapped(samples_lines([rewarded], "ppo"), 60).plain.splitlines()[1:] == [
        "context     It is by Eliot.",
        "prompt      Who?",
        "response    Eliot.",
        "reward      0.5  = exact 0.7",
        "scores      kl 3",
    ]
    assert parted("one\ntwo", "sft") == ("one\ntwo", "", ""), "a prompt of several lines is not taken apart"


def test_the_spec_marks_every_key_that_its_parent_has_otherwise(world: World) -> None:
    parent = world.add("one", lr=1e-3)
    child = world.add("two", lr=5e-4, steps=50, parent_id=parent)
    facts = RunReader(world.store, child).read("spec").spec
    assert facts is not None and facts.parent == parent
    lines = wrapped(spec_lines(facts), 100).plain.splitlines()
    assert lines[:4] == [f"2 keys differ from {parent}", "train.steps  50  ← 100", "train.lr     5e-4  ← 0.001", ""]
    marked = [line.split() for line in lines[4:] if "←" in line]
    assert marked == [["name:", "two", "←", "one"], ["steps:", "50", "←", "100"], ["lr:", "0.0005", "←", "0.001"]]
    keys = dict(keyed(facts.yaml))
    assert keys["train.schedule.warmup_steps"].strip() == "warmup_steps: 0" and "model.architecture.layers" in keys
    unlike = RunReader(world.store, parent).read("spec").spec
    assert unlike is not None and not any("←" in line.plain for _, line in spec_lines(unlike))
    assert RunReader(world.store, child).read().spec is None, "it is read only when it is wanted"


def test_relatives_are_told_with_what_was_taken_and_the_run_itself_among_them(world: World) -> None:
    experiment = experiments.get(world.store, world.add(HOSTILE))
    sft = Relative("sft-0009", "base", "sft", State.SUCCEEDED, "model", False, ())
    again = Relative("sft-0009", "base", "sft", State.SUCCEEDED, "model", True, ())
    rm = Relative("rm-0001", "rm-0001", "rm", State.FAILED, "reward_model", False, (again,))
    entries = family_entries(experiment, Pedigree((sft, rm), ()))
    assert [identity for identity, _ in entries] == [None, "sft-0009", "rm-0001", "sft-0009", None]
    text = [line.plain.rstrip() for _, line in entries]
    assert text[1].split() == ["├─", "sft-0009", "base", "✔", "succeeded", "model"]
    assert text[3].split() == ["└─", "sft-0009", "base", "✔", "succeeded", "model,", "as", "above"]
    assert "[red]gone[/red] ‹202E›‹07›" in text[4] and text[4].endswith("this run")
    alone = family_entries(experiment, Pedigree((), ()))
    assert alone[-1][1].plain.strip().startswith("It was made from no other run")
