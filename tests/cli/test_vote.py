"""`engine vote`: a vote is cast, replaced and taken back, and the tally is that of the terminal UI."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.store import experiments, facts, votes
from engine.store.database import Store
from engine.telemetry.reader import Chunk
from engine.telemetry.records import SampleRecord
from tests.cli.conftest import Engine


@pytest.fixture
def two(filled: Path) -> Path:
    """Answers of sft-0001 at steps 20 and of sft-0002 at steps 10 and 20, to prompts of which two are shared."""
    store = Store.open(filled)
    (second,) = [one.id for one in experiments.list_experiments(store) if one.id != "sft-0001"]
    asked = ("Where was Ono born?", "Where was \x1b[31mBo born?", "Only here?")
    for identity, steps, before in (("sft-0001", (20,), 50), (second, (10, 20), 0)):
        written = [SampleRecord(2e9, 1, step, prompt, f"{identity} at {step}") for step in steps for prompt in asked]
        records = written[1:2] if identity == "sft-0001" else written
        assert facts.ingest(store, identity, "samples.jsonl", Chunk(tuple(records), before + 50, (), False), before)
    return filled


def test_a_vote_is_kept_replaced_and_taken_back_and_the_tally_is_printed(engine: Engine, two: Path) -> None:
    both = ("vote", "sft-0001", "sft-0002")
    nothing = engine(*both, "--json").json
    assert nothing["votes"] == {"left": 0, "tie": 0, "right": 0, "blind": 0} and nothing["prompts"] == 2
    assert (nothing["left"], nothing["right"]) == ({"id": "sft-0001", "step": 20}, {"id": "sft-0002", "step": 20})
    engine(*both, "--prompt", "Where was Ono born?", "--better", "left")
    second = engine(*both, "--prompt", "mbo BORN", "--better", "right", "--blind")
    assert "2 of 2 prompts have a vote, 1 of them cast blind." in second.err and "\x1b" not in second.out
    assert votes.tally(Store.open(two), ("sft-0001", 20), ("sft-0002", 20)) == votes.Tally(1, 0, 1, 1)
    turned = engine("vote", "sft-0002", "sft-0001", "--prompt", "Ono", "--better", "left", "--json").json
    assert turned["votes"] == {"left": 2, "tie": 0, "right": 0, "blind": 1}
    assert {one["better"] for one in turned["voted"]} == {"left"}
    left = engine(*both, "--prompt", "Ono", "--remove", "--json").json
    assert left["votes"]["right"] == 1 and [one["better"] for one in left["voted"]] == ["right"]
    checkpoints = engine("vote", "sft-0002", "sft-0002", "--at", "10", "20", "--json").json
    assert checkpoints["prompts"] == 3 and checkpoints["votes"]["left"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("sft-0001", "sft-0002", "--better", "left"), 2, "--prompt"),
        (("sft-0001", "sft-0002", "--prompt", "Ono"), 2, "--better or --remove"),
        (("sft-0001", "sft-0002", "--prompt", "nobody", "--better", "tie"), 3, "no such prompt"),
        (("sft-0001", "sft-0002", "--prompt", "Where", "--better", "tie"), 2, "2 prompts have this in them"),
        (("sft-0001", "sft-0002", "--at", "20", "30"), 3, "There are some at 10, 20."),
        (("sft-0001", "sft-0001"), 2, "both sides are the same"),
        (("sft-0001", "sft-0009"), 3, "sft-0009"),
    ],
)
def test_what_is_no_vote_is_said_in_a_sentence(
    engine: Engine, two: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    result = engine("vote", *arguments)
    assert result.code == code and sentence in result.err
