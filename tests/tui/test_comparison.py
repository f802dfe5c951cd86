"""What a comparison shows, as pure functions: words, support, pairs, tables, paths."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from engine.report.comparing.against import against
from engine.report.comparing.saying import Pair, Said, of_answers, of_samples, pairs
from engine.report.comparing.support import passages_of, question_of, unsupported
from engine.report.comparing.words import changed
from engine.store import experiments
from engine.telemetry import directions
from engine.telemetry.axis import Scale
from engine.telemetry.directions import direction_of
from engine.telemetry.metrics import METRICS
from tests.tui.world import HOSTILE, World
from tui.canvas.charset import ASCII, UNICODE
from tui.canvas.frame import line_ink
from tui.canvas.phase import Path, PhasePlot, draw_phase
from tui.comparison.browsing import Browser
from tui.comparison.differences import spec_table
from tui.comparison.exporting import of_pairs, of_table
from tui.comparison.finals import final_table
from tui.comparison.marking import marked
from tui.comparison.overlay import metric_of, overlaid, overlay_panels, overlay_plot, readings
from tui.comparison.pair_rows import pair_rows
from tui.comparison.reading import ComparedRun, ComparisonReader
from tui.comparison.voting import chosen_side
from tui.run.curves import Curves
from tui.run.view import View

PROMPT = "Ono was born in Arvik.\nOno plays the flute.\nWhere was Ono born?"


def parts(text: str, spans: list[tuple[int, int]]) -> list[str]:
    return [text[start:end] for start, end in spans]


def test_words_that_differ_are_found_whatever_the_spaces() -> None:
    before, after = "It opened on 27 May 1937 [1].", "It  opened on May 27, 1937 [1] by the President."
    lost, gained = changed(before, after)
    assert parts(before, lost) == ["May"]
    assert parts(after, gained) == ["May", ",", "by the President"]
    assert changed("a  b\nc", "a b c") == ([], [])
    long = "word " * 4_000
    assert changed(long, long) == ([], []) and changed(long, "word") == ([(0, len(long))], [(0, 4)])


def test_sentences_that_no_passage_supports_are_marked_and_abstentions_never() -> None:
    passages = passages_of(PROMPT)
    assert (
        passages == ("Ono was born in Arvik.", "Ono plays the flute.") and question_of(PROMPT) == "Where was Ono born?"
    )
    response = "Ono was born in Arvik [1]. Ono was a famous president. I don't know."
    assert parts(response, list(unsupported(response, passages))) == ["Ono was a famous president."]
    assert unsupported("Belmo", passages) == ((0, 5),) and unsupported("Arvik", passages) == ()
    assert unsupported("Belmo", ()) == ()  # closed book: there is nothing to hold it against
    assert passages_of("") == () and question_of("\n") == ""


def test_marks_stand_in_the_text_as_braces_and_what_is_hidden_in_it_is_written_out() -> None:
    shown = marked(f"Right. Wrong.{HOSTILE}\nMore.", [(7, 13)], [(0, 5)])
    assert shown.plain.startswith("Right. {Wrong.}") and shown.plain.endswith("\nMore.")
    assert "‹202E›" in shown.plain and "\x1b" not in shown.plain and "[red]gone[/red]" in shown.plain
    assert any("underline" in str(span.style) for span in shown.spans if span.start == 0)
    assert marked("  ", [], []).plain == "(nothing)"


def said(prompt: str, response: str, **more: object) -> Said:
    return Said(prompt, question_of(prompt), response, **more)  # type: ignore[arg-type]


def test_answers_are_paired_by_id_then_word_for_word_then_by_question() -> None:
    left = [said("p\nq", "with"), said("q", "bare"), said("other", "alone"), said("", "x", key="7")]
    right = [said("q", "bare too"), said("z\nq", "other passages"), said("x", "by its id", key="7")]
    found = [(one.left.response, one.right.response) for one in pairs(left, right)]
    assert found == [("with", "other passages"), ("bare", "bare too"), ("x", "by its id")]
    same = [said("q", "1"), said("q", "2")]
    assert [(one.left.response, one.right.response) for one in pairs(same, same)] == [("1", "1"), ("2", "2")]


@pytest.mark.parametrize(
    ("left", "right", "worse"),
    [
        ({"outcome": "correct"}, {"outcome": "abstained"}, True),
        ({"outcome": "hallucinated"}, {"outcome": "abstained"}, False),
        ({"scores": {"score": 1.0}}, {"scores": {"score": 0.5}}, True),
        ({"scores": {"score": 1.0}}, {"scores": {"score": float("nan")}}, False),
        ({"reference": "a"}, {"reference": "b"}, True),
        ({"reference": "a"}, {"reference": "a"}, False),
    ],
)
def test_a_regression_is_told_by_outcome_score_or_reference(
    left: dict[str, object], right: dict[str, object], worse: bool
) -> None:
    assert Pair(said("q", "a", **left), said("q", "a", **right)).is_regression is worse


def scripted(*steps: int) -> dict[int, list[Said]]:
    return {step: [said(f"q{number}", f"{step}/{number}") for number in range(6)] for step in steps}


def test_browsing_keeps_the_prompt_over_checkpoints_and_never_shows_one_side_twice() -> None:
    browser = Browser().of([scripted(10, 20, 30), scripted(40)], 1).moved(3)
    assert browser.left == (0, 30) and browser.right == (1, 40) and browser.pair is not None
    assert browser.pair.right.response == "40/3"
    assert browser.stepped(1) is None and browser.stepped(1, at_left=True) is None
    earlier = browser.stepped(-1, at_left=True)
    assert earlier is not None and earlier.left == (0, 20)
    assert earlier.pair is not None and earlier.pair.left.response == "20/3"
    own = browser.of([scripted(10, 20, 30), scripted(40)], 0)
    assert (own.left, own.right) == ((0, 10), (0, 30))
    back = own.stepped(-1)
    assert back is not None and back.right == (0, 20)
    assert back.stepped(-1) is None  # 10 stands at the left
    grown = earlier.of([scripted(10, 20, 30, 40), scripted(40)], 1)
    assert grown.left == (0, 20) and grown.pair == earlier.pair
    assert Browser().of([{}, {}], 1).pair is None and Browser().of([scripted(1)], 0).pair is None


def test_blind_pairs_come_in_an_order_by_chance_that_stays_and_a_vote_means_who_is_seen() -> None:
    runs = [_run(place, identity) for place, identity in enumerate(("ppo-0001", "ppo-0002"))]
    browser = Browser(blind=True, seed="s").of([scripted(5), scripted(7)], 1)
    swapped = [browser.moved(number).swapped for number in range(6)]
    assert True in swapped and False in swapped
    assert swapped == [browser.moved(number).swapped for number in range(6)]
    for number, turned in enumerate(swapped):
        better, who = chosen_side(browser.moved(number), runs, "left")
        assert better == (("ppo-0002", 7) if turned else ("ppo-0001", 5)) and who.startswith("B" if turned else "A")
    assert chosen_side(browser, runs, "tie") == (None, "neither")
    assert not Browser(seed="s").of([scripted(5), scripted(7)], 1).swapped
    assert all("left" in row and row["vote"].text == "" for row in pair_rows(browser, None, {}).values())


def _run(place: int, identity: str, **last: float) -> ComparedRun:
    told = SimpleNamespace(id=identity, kind=identity.partition("-")[0], last=last, name=identity)
    return ComparedRun(place, told, tuple(last), Curves({}))  # type: ignore[arg-type]


def test_final_metrics_say_better_or_worse_where_that_is_known() -> None:
    runs = [
        _run(0, "ppo-0001", score=2.0, kl=3.0, hallucinated=0.2, entropy=0.0),
        _run(1, "ppo-0002", score=2.5, kl=6.0, hallucinated=0.3, entropy=1.0, grad_norm=float("nan")),
    ]
    wide = final_table(runs, 200)
    score, hallucinated = wide.rows["score"], wide.rows["hallucinated"]
    assert (score["B difference"].text, score["B percent"].text, score["B verdict"].text) == (
        "+0.5",
        "+25.0%",
        "▲ better",
    )
    assert hallucinated["B verdict"].text == "▼ worse" and wide.rows["kl"]["B verdict"].text == ""
    assert wide.rows["entropy"]["B percent"].text == "" and wide.rows["grad_norm"]["B"].text == "nan"
    assert wide.note == "5 metrics: 1 better, 1 worse than A"
    other = final_table([runs[0], _run(1, "sft-0001", score=2.5)], 200)
    assert other.rows["score"]["B verdict"].text == ""  # runs of two kinds
    narrow = final_table(runs, 40)
    assert [column.key for column in narrow.columns] == ["metric", "unit", "A", "B"]
    assert narrow.rows["score"]["B"].text == "2.5 ▲"
    assert "less is better" in "".join(line.plain for _, line in wide.told("hallucinated"))
    assert against("loss", 1.0001, 1.0) is not None and against("loss", 1.0001, 1.0).verdict == "same"  # type: ignore[union-attr]
    assert against("loss", float("inf"), 1.0) is None
    document = json.loads(of_table("json", wide, runs, "metrics"))
    assert document["metrics"]["score"] == [2.0, 2.5] and document["metrics"]["grad_norm"] == [None, "nan"]
    assert of_table("csv", wide, runs, "metrics").splitlines()[0] == "metrics,ppo-0001,ppo-0002"


def test_every_direction_is_that_of_a_metric_and_groups_and_ranks_have_it_too() -> None:
    assert set(METRICS) >= (directions._MORE | directions._LESS) and not directions._MORE & directions._LESS
    names = ("eval_loss", "recall@10", "correct/known", "kl", "response_length", "eval_score", "abstained", "made_up")
    assert [direction_of(name) for name in names] == [-1, 1, 1, 0, 0, 1, 0, 0]


def test_specs_show_differences_first_and_all_keys_when_asked(world: World) -> None:
    ids = [world.add("one", lr=1e-3), world.add("two", lr=2e-3), world.add("three", lr=1e-3, steps=50)]
    runs = ComparisonReader(world.store, ids).read(())
    differing = spec_table(runs, everything=False)
    assert list(differing.rows) == ["train.steps", "train.lr"]
    assert [differing.rows["train.lr"][letter].text for letter in "ABC"] == ["0.001", "0.002", "0.001"]
    assert [differing.rows["train.lr"][letter].ink for letter in "ABC"] == ["text", "warning", "quiet"]
    whole = spec_table(runs, everything=True)
    assert list(whole.rows)[:2] == ["train.steps", "train.lr"] and len(whole.rows) > 20 and "name" not in whole.rows
    told = "\n".join(line.plain for _, line in differing.told("train.lr"))
    assert "learning rate" in told and "B sft-0002  0.002" in told
    assert differing.note == f"2 of {len(whole.rows)} keys differ"
    two = spec_table(runs[::2], everything=False, first=0)
    assert list(two.rows) == ["train.steps"]
    markdown = of_table("md", differing, runs, "spec")
    assert "| train.lr | 0.001 | 0.002 | 0.001 |" in markdown


def test_what_was_deleted_is_left_out_and_letters_close_up(world: World) -> None:
    from engine.store import bookkeeping
    from engine.telemetry.states import State

    ids = [world.add(name) for name in ("one", "two", "three")]
    reader = ComparisonReader(world.store, ids)
    world.begin(ids[1])
    world.end(ids[1], State.STOPPED)
    bookkeeping.delete(world.store, ids[1])
    assert [(run.letter, run.id) for run in reader.read(())] == [("A", ids[0]), ("B", ids[2])]


def test_curves_of_several_runs_share_a_chart_each_in_its_own_colour(world: World) -> None:
    ids = [world.add("one"), world.add("two")]
    for number, identity in enumerate(ids):
        world.begin(identity)
        world.train(identity, range(1, 40 + 10 * number), loss=lambda step, more=number: 2 / step + more)
    world.ingest(ids[1], "metrics.jsonl", [])
    reader = ComparisonReader(world.store, ids)
    runs = reader.read({"loss"})
    assert set(runs[0].curves.series) == {"loss"} and set(runs[0].names) == {"loss", "tokens_per_second"}
    overlay, panels = overlaid(runs), overlay_panels(runs)
    assert metric_of(panels[0]) == "loss" and len(panels[0]) == 2
    plot = overlay_plot(panels[0], overlay, View(), Scale.LINEAR)
    assert [(line.color, line.joined, line.x.size) for line in plot.lines] == [(1, True, 49), (0, True, 39)]
    assert overlay_plot(panels[0], overlay, View(), Scale.LINEAR, top=1).lines[-1].color == 1
    told = readings(panels[0], overlay, View(crosshair=10.0))
    assert told["A"].value == pytest.approx(0.2) and told["B"].value == pytest.approx(1.2) and told["B"].step == 10
    unread = overlay_plot(panels[1], overlay, View(), Scale.LINEAR)
    assert all(line.x.size == 0 for line in unread.lines) and unread.empty == "reading…"
    world.train(ids[0], range(40, 60))
    assert reader.read({"loss"})[0].curves.series["loss"].step.size == 59


def test_a_path_is_drawn_without_gaps_and_its_mark_goes_to_a_step() -> None:
    steps = np.arange(1, 31)
    path = Path("A", np.linspace(0, 10, 30), np.linspace(0, 1, 30) ** 2, steps, 0)
    back = Path("B", np.array([8.0, 2.0, 5.0]), np.array([0.2, 0.5, 0.9]), np.array([1, 2, 3]), 1)
    frame = draw_phase(PhasePlot([path, back], x_name="KL", level=6.0), 60, 20, UNICODE)
    inside = slice(frame.top, frame.top + frame.rows), slice(frame.left, frame.left + frame.columns)
    area, inks = frame.glyphs[inside], frame.inks[inside]
    crossed = (inks == line_ink(0)).any(axis=0) | (inks == line_ink(1)).any(axis=0)
    assert crossed[2:-3].mean() > 0.95 and UNICODE.crosshair in area
    assert "●" in area and "◆" in area
    moved = draw_phase(PhasePlot([path], at_step=1), 60, 20, UNICODE).text()
    assert "●A" in moved.splitlines()[17]
    plain = draw_phase(PhasePlot([path, back]), 60, 20, ASCII).text()
    assert plain.isascii() and "A*" in plain  # at the right end the letter stands before
    assert "no points yet" in draw_phase(PhasePlot(()), 40, 10, UNICODE).text()
    assert draw_phase(PhasePlot([path]), 3, 2, UNICODE).glyphs.shape == (2, 3)


def test_samples_know_their_passages_outcome_and_file(world: World) -> None:
    from engine.store.samples import list_samples

    identity = world.add("one")
    world.begin(identity)
    world.sample(identity, 10, PROMPT, "Belmo", "Arvik")
    world.sample(identity, 20, PROMPT, "Arvik", "Arvik")
    script = of_samples(list_samples(world.store, identity))
    assert list(script) == [10, 20] and script[10][0].marks == ((0, 5),) and script[20][0].marks == ()
    runs = ComparisonReader(world.store, [identity]).read((), samples=True)
    browser = Browser().of([script], 0)
    document = json.loads(of_pairs("json", browser, runs, {PROMPT: "tie"}))
    assert document["left"] == {"run": identity, "step": 10} and document["pairs"][0]["vote"] == "tie"
    assert "| Belmo |" in of_pairs("md", browser, runs, {})
    assert experiments.get(world.store, identity).id == document["right"]["run"]


def test_answers_of_an_evaluation_are_held_against_its_own_claims() -> None:
    row = {
        "id": "q1", "question": "Where?", "answers": ["Arvik"], "response": "In Arvik [1]. He sang.",
        "outcome": "correct", "confidence": 0.9, "passages": [{"title": "", "text": "Born in Arvik."}],
        "claims": [{"text": "In Arvik.", "supported": True}, {"text": "He sang.", "supported": False}],
    }  # fmt: skip
    (one,) = of_answers([row], 900)[900]
    assert parts(one.response, list(one.marks)) == ["He sang"]
    assert (one.key, one.reference, one.outcome, one.scores) == ("q1", "Arvik", "correct", {"confidence": 0.9})
    assert of_answers([], 900) == {}
