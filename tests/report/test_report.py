"""The report: what it says is what was measured, and nothing in it is obeyed."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import lxml.html
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.evaluate.results import judged_of, read_answers, read_panel
from engine.evaluate.transitions import transitions
from engine.report.curves import line
from engine.report.html import to_html
from engine.report.markdown import to_markdown
from engine.report.records import Found, Report
from engine.report.report import build, to_json
from engine.report.selection import chosen
from engine.spec.loading import parse_spec
from engine.store import attempts, experiments, facts
from engine.store.bookkeeping import add_tags
from engine.store.database import Store
from engine.telemetry.reader import Chunk
from engine.telemetry.records import MetricsRecord, StartRecord
from engine.telemetry.states import State
from tests.report.world import Filling, World, fill, pairs_of, questions, write_evaluation

QUESTIONS = 40


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = fill(tmp_path_factory.mktemp("world"), QUESTIONS)
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = fill(tmp_path_factory.mktemp("small"), 20, ("sft", "ppo"))
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def report(world: World) -> Report:
    return build(world.store, chosen(world.store, ["facts-ppo"]), world.found())


def page_of(report: Report) -> lxml.html.HtmlElement:
    return lxml.html.document_fromstring(to_html(report))


def cells(table: lxml.html.HtmlElement) -> list[list[str]]:
    """The text of the rows of a table's body."""
    return [[" ".join(cell.itertext()) for cell in row] for row in table.findall("tbody/tr")]


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def test_the_numbers_of_the_headline_are_those_of_the_panels(world: World, report: Report) -> None:
    rows = {row[0].split()[0]: row[1:] for row in cells(page_of(report).find_class("headline")[0])}
    assert list(rows) == ["base", "SFT", "PPO"]
    for system, stage, first in (
        ("base", "base", 0),
        ("sft", "SFT", 0),
        ("ppo", "PPO", 0),
        ("sft+retrieval", "SFT", 4),
        ("ppo+retrieval", "PPO", 4),
    ):
        identity = world.ids[f"facts-eval-{system.replace('+', '-')}"]
        figures = read_panel(world.evaluations[identity])["figures"]
        for place, name in enumerate(("correct", "abstained", "hallucinated")):
            one = figures[name]
            shown = f"{percent(one['value'])}% {percent(one['low'])}–{percent(one['high'])}"
            assert rows[stage][first + place] == shown
        score = rows[stage][first + 3].replace("−", "-").split()
        assert float(score[0]) == pytest.approx(figures["score"]["value"], abs=6e-4)
    assert rows["base"][4:] == ["not evaluated", "–", "–", "–"]


def test_json_holds_what_the_tables_say(world: World, report: Report) -> None:
    told = json.loads(to_json(report))["headlines"][0]
    assert [stage["label"] for stage in told["stages"]] == ["base", "SFT", "PPO"]
    assert told["settings"] == ["closed book", "retrieval"]
    labels = [next(one["label"] for one in told["measured"] if one["evaluation"] == each) for each in told["chain"]]
    assert labels == ["base", "SFT", "PPO", "PPO + retrieval"]
    for one in told["measured"]:
        panel = read_panel(world.evaluations[one["evaluation"]])
        assert one["part"] == {key: panel[key] for key in ("questions", "counts", "figures")}
        assert one["groups"] == panel["by"] and one["causes"] == panel["causes"]


def test_changes_are_those_of_the_answers(world: World, report: Report) -> None:
    found = {(one.before_label, one.after_label): one for one in report.headlines[0].changes}
    assert [*found][:3] == [("base", "SFT"), ("SFT", "PPO"), ("PPO", "PPO + retrieval")]
    assert ("SFT + retrieval", "PPO + retrieval") in found and ("base", "PPO + retrieval") in found
    change = found["SFT", "PPO"]
    before, after = (judged_of(read_panel(world.evaluations[one])) for one in (change.before, change.after))
    moved = transitions(before, after)
    assert change.counts == moved.counts and change.mended == len(moved.mended) and change.paired == QUESTIONS
    assert sum(sum(row.values()) for row in change.counts.values()) == QUESTIONS
    value = change.differences["hallucinated"]
    assert value is not None and value.low is not None and value.low <= value.value < 0
    text = " ".join(page_of(report).text_content().split())
    assert f"{len(moved.newly_abstains)} newly abstain" in text


def test_examples_are_answers_that_changed_so(world: World, report: Report) -> None:
    shown = 0
    for change in report.headlines[0].changes:
        rows = [
            {row["id"]: row for row in read_answers(world.evaluations[one])} for one in (change.before, change.after)
        ]
        for example in change.better_examples:
            assert example.before.outcome != "correct" and example.after.outcome in ("correct", "abstained")
        for example in change.hallucinated_examples:
            assert example.before.outcome != "hallucinated" and example.after.outcome == "hallucinated"
        for example in (*change.better_examples, *change.hallucinated_examples):
            assert example.before.text == rows[0][example.id]["response"]
            assert example.after.text == rows[1][example.id]["response"]
            shown += 1
        groups = {example.group for example in change.better_examples}
        assert change.better < 5 or len(groups) > 1, "examples of one group alone"
    assert shown > 10
    # Answers to questions that PPO logged come with what they were rewarded with.
    logged = [one.sampled for change in report.headlines[0].changes for one in change.better_examples if one.sampled]
    assert logged and logged[0].scores["reward/faithful"] == 0.7
    cited = [one for one in report.headlines[0].changes[2].better_examples if one.after.outcome == "correct"]
    assert cited and cited[0].after.passages is not None and cited[0].after.passages[0].cited


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><b>bold</b>",
    "a\u202eb\u200bc\x1b[31md\x00e",
    "\ud800lone",
    "[link](javascript:alert(1)) `code` | pipe *bold*",
    "line one\nline two",
    "&lt;already&gt;",
)


def hostile_world(folder: Path) -> World:
    """Every text that comes from outside is one that would be obeyed."""
    world = World(Store.open(folder / "experiments.db"), folder / "runs")
    filling, asked = Filling(world), questions(len(HOSTILE) * 2)
    note = json.dumps(HOSTILE[0] + HOSTILE[1])
    filling.run(
        f"x{HOSTILE[0]}",
        f"kind: sft\nnote: {note}\nmodel: {{path: /m/base}}\ndata: {{train: '/d/{HOSTILE[0]}'}}",
        makes="model",
    )
    for number, (system, passages) in enumerate((("sft", "none"), ("ppo+retrieval", "gold")), 1):
        pairs = pairs_of(system, asked)
        folder = write_evaluation(world.folder / f"e{number}" / "evaluation", pairs)
        rows = [json.loads(row) for row in (folder / "answers.jsonl").read_text().splitlines()]
        for place, row in enumerate(rows):
            text = HOSTILE[place % len(HOSTILE)]
            row |= {"question": text, "response": text, "answers": [text], "group": text, "id": f"{text}{place}"}
            row["passages"] = None if row["passages"] is None else [{"text": text, "document": text, "title": text}]
        (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        panel = json.loads((folder / "panel.json").read_text())
        for place, one in enumerate(panel["outcomes"]):
            one |= {"id": f"{HOSTILE[place % len(HOSTILE)]}{place}", "group": HOSTILE[place % len(HOSTILE)]}
        panel["by"] = {HOSTILE[0]: panel["by"]["known"], HOSTILE[3]: panel["by"]["unknown"]}
        (folder / "panel.json").write_text(json.dumps(panel))
        identity = filling.run(
            f"e{number}",
            f"kind: eval\nmodel: {{path: /r/model}}\nquestions: '/d/<q>.jsonl'\npassages: {passages}",
            steps=len(asked), takes={"/r/model": f"x{HOSTILE[0]}"}, makes="evaluation",
        )  # fmt: skip
        world.evaluations[identity] = folder
    return world


def test_hostile_text_is_shown_and_never_obeyed(tmp_path: Path) -> None:
    world = hostile_world(tmp_path)
    report = build(world.store, chosen(world.store, ["sft-0001"]), world.found(), examples=20)
    html = to_html(report)
    page = lxml.html.document_fromstring(html)
    assert len(report.headlines[0].changes[0].better_examples) > 5
    allowed = {"src", "href"}
    for element in page.iter():
        assert element.tag not in ("script", "img", "iframe", "b" if element.text == "bold" else "object", "link")
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            assert name not in allowed or value.startswith("#")
    text = page.text_content()
    for shown in ("<script>alert(1)</script>", '"><img src=x', "\\u202e", "\\u200b", "␛[31m", "␀", "&lt;already&gt;"):
        assert shown in text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\x00-\x08\x0e-\x1f]", html)
    assert len(page.findall(".//style")) == 1
    html.encode("utf-8")
    markdown = to_markdown(report)
    assert "<script" not in markdown and "<img" not in markdown and "[link](" not in markdown
    assert not re.search("[\u202e\u200b\x1b\x00]", markdown)
    told = json.loads(to_json(report))
    examples = told["headlines"][0]["changes"][0]["better_examples"]
    assert {one["question"] for one in examples} & {HOSTILE[0], HOSTILE[1]}
    markdown.encode("utf-8")
    world.store.close()


def test_the_page_is_one_file_without_scripts_or_network(report: Report) -> None:
    html = to_html(report)
    assert len(html) < 2_000_000
    page = lxml.html.document_fromstring(html)
    assert not page.xpath("//script | //link | //img | //iframe | //object | //*[@src]")
    assert all(value.startswith("#") for value in page.xpath("//@href"))
    assert "http://" not in html and "https://" not in html and "url(" not in html and "@import" not in html
    policy = page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")[0]
    assert "default-src 'none'" in policy
    targets = set(page.xpath("//@id"))
    assert {value[1:] for value in page.xpath("//@href")} <= targets


def test_the_same_database_leaves_the_same_bytes(world: World, report: Report) -> None:
    again = build(world.store, chosen(world.store, ["facts-ppo"]), world.found())
    for write in (to_html, to_markdown, to_json):
        assert write(again) == write(report)


def test_curves_break_where_a_number_is_lost_and_restarts_are_marked(report: Report) -> None:
    run = next(one for one in report.runs if one.name == "facts-sft")
    grad = next(line for chart in run.charts for line in chart.lines if line.name == "grad_norm")
    assert grad.lost == (120, 121) and run.marks == ((200, "restart"),)
    assert all(value is None for step, value in zip(grad.step, grad.value, strict=True) if step in grad.lost)
    section = page_of(report).get_element_by_id(run.id)
    crosses = section.find_class("lost")
    assert len(crosses) == 2 and section.find_class("mark")
    assert "no finite number at step 120" in crosses[0].text_content()
    assert max(line.step[-1] for chart in run.charts for line in chart.lines) == 400


@settings(max_examples=40)
@given(st.integers(1, 3000), st.integers(0, 2**32), st.integers(1, 50), st.sets(st.integers(0, 2999), max_size=4))
def test_a_thinned_line_keeps_extremes_and_ends(count: int, seed: int, stride: int, lost: set[int]) -> None:
    draw = random.Random(seed)
    values = [math.nan if place in lost else draw.gauss(0, 1) for place in range(count)]
    steps = [stride * (place + 1) for place in range(count)]
    thin = line("loss", steps, values)
    assert len(thin.step) <= 300 and list(thin.step) == sorted(set(thin.step))
    assert (thin.step[0], thin.step[-1]) == (steps[0], steps[-1])
    told = [value for value in values if math.isfinite(value)]
    shown = [value for value in thin.value if value is not None]
    if told:
        assert min(shown) == pytest.approx(min(told), rel=1e-5) and max(shown) == pytest.approx(max(told), rel=1e-5)
    assert thin.lost == tuple(steps[place] for place in sorted(lost) if place < count)
    # A number that was lost breaks the line.
    assert thin.value.count(None) == (0 if not thin.lost else len({*thin.lost} & {*thin.step})) and bool(thin.lost) == (
        None in thin.value
    )


def test_a_spec_is_held_against_its_parent_stage(report: Report) -> None:
    by_name = {run.name: run for run in report.runs}
    ppo = by_name["facts-ppo"]
    assert ppo.against == by_name["facts-sft"].id
    keys = {one.key: one for one in ppo.keys}
    assert keys["data.train"].differs and keys["data.train"].other == "/data/sft.jsonl"
    assert keys["ppo.kl_coef"].value == 0.05 and not keys["ppo.kl_coef"].differs
    assert [(one.keys, one.name) for one in ppo.taken] == [
        (("rewards.faithful.path",), "facts-rm"),
        (("model.path",), "facts-sft"),
    ]
    evaluation = by_name["facts-eval-ppo"]
    assert evaluation.software["commit"] == "75dd1f5c0ffee" and evaluation.software["torch"] == "2.13.0"


def test_an_evaluation_whose_files_are_gone_is_told_by_the_database(small: World) -> None:
    identity = small.ids["facts-eval-ppo"]
    folders = {one: folder for one, folder in small.evaluations.items() if one != identity}
    found = small.found(evaluations=folders, problems=("The answers of eval-0002 are not at hand.",))
    report = build(small.store, chosen(small.store, ["facts-ppo"]), found)
    one = next(one for one in report.headlines[0].measured if one.evaluation == identity)
    panel = read_panel(small.evaluations[identity])
    assert one.part is not None and one.note is not None
    correct = one.part.figures["correct"]
    assert correct is not None and correct.low is None
    assert correct.value == pytest.approx(panel["figures"]["correct"]["value"])
    compared = {each for change in report.headlines[0].changes for each in (change.before, change.after)}
    assert identity not in compared
    assert "are not at hand" in to_html(report) and "are not at hand" in to_markdown(report)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 1}', '{"format": 1, "outcomes": [{}]}', '{"format": 99}']
)
def test_a_damaged_panel_costs_the_comparison_and_not_the_page(small: World, tmp_path: Path, content: str) -> None:
    identity = small.ids["facts-eval-sft"]
    folder = tmp_path / "evaluation"
    shutil.copytree(small.evaluations[identity], folder)
    (folder / "panel.json").write_text(content)
    found = small.found(evaluations={**small.evaluations, identity: folder})
    report = build(small.store, chosen(small.store, ["facts-ppo"]), found)
    one = next(one for one in report.headlines[0].measured if one.evaluation == identity)
    assert one.note is not None and one.part is not None and "panel.json" in one.note
    assert to_html(report)


def test_damaged_answers_cost_the_examples_only(small: World, tmp_path: Path) -> None:
    identity = small.ids["facts-eval-sft"]
    folder = tmp_path / "evaluation"
    shutil.copytree(small.evaluations[identity], folder)
    (folder / "answers.jsonl").write_text('{"id": 1')
    found = small.found(evaluations={**small.evaluations, identity: folder})
    report = build(small.store, chosen(small.store, ["facts-ppo"]), found)
    change = report.headlines[0].changes[0]
    assert change.note is not None and not change.better_examples and change.better


def test_training_without_an_evaluation_makes_a_page(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "experiments.db")
    identity = experiments.create(store, parse_spec("kind: sft\nmodel: {architecture: {}}\ndata: {train: a.jsonl}"))
    points = [MetricsRecord(1.8e9 + step, 1, step, {"loss": 4 / step}) for step in range(1, 21)]
    records = (StartRecord(1.8e9, 1, 0, 20), *points)
    assert facts.ingest(store, identity, "metrics.jsonl", Chunk(records, 100, (), False), 0)
    report = build(store, chosen(store, [identity]), Found({}, {}, ()))
    assert report.headlines == () and "No evaluation" in report.summary
    page = page_of(report)
    assert page.get_element_by_id(identity).find_class("curve") and not page.find_class("headline")
    assert "No evaluation" in to_markdown(report)
    store.close()


def test_a_stage_that_failed_or_waits_is_shown_as_missing(tmp_path: Path) -> None:
    world = fill(tmp_path, 20, systems=("sft",))
    spec = "kind: eval\nmodel: {path: /runs/ppo/policy}\nquestions: /data/questions.jsonl"
    failed = experiments.create(world.store, parse_spec(spec), name="broken")
    begun = attempts.begin(world.store, failed, run_dir="/x", placement=[])
    attempts.transition(
        world.store, failed, begun.number, State.FAILED, reason="A rank ran out of memory.", exit_code=1
    )
    report = build(world.store, chosen(world.store, [failed, "facts-eval-sft"]), world.found())
    one = next(one for one in report.headlines[0].measured if one.evaluation == failed)
    assert one.part is None and one.note is not None and "ran out of memory" in one.note
    assert len(report.headlines[0].chain) == 1 and not report.headlines[0].changes
    html = to_html(report)
    assert "ran out of memory" in html and "no figures: failed" in html
    world.store.close()


def test_a_pipeline_means_all_its_stages(world: World) -> None:
    for name, stage in (("facts-sft", "sft"), ("facts-eval-sft", "closed-sft")):
        add_tags(world.store, world.ids[name], ["pipeline:world", "pipeline:world/1", f"stage:{stage}"])
    selection = chosen(world.store, ["world"])
    assert selection.title == "world"
    assert selection.experiments == (world.ids["facts-sft"], world.ids["facts-eval-sft"])


def test_parents_come_first_and_one_evaluation_brings_its_own_alone(world: World) -> None:
    alone = chosen(world.store, ["facts-eval-ppo-retrieval"]).experiments
    names = {identity: name for name, identity in world.ids.items()}
    shown = [names[one] for one in alone]
    assert set(shown) == {"facts-sft", "facts-rm", "facts-index", "facts-ppo", "facts-eval-ppo-retrieval"}
    assert shown.index("facts-ppo") > max(shown.index("facts-sft"), shown.index("facts-rm"))
    assert shown[-1] == "facts-eval-ppo-retrieval"


def test_evaluations_that_ask_otherwise_stand_apart(tmp_path: Path) -> None:
    world = fill(tmp_path, 20, systems=("sft",))
    filling = Filling(world)
    asked = questions(20)
    folder = write_evaluation(tmp_path / "strict" / "evaluation", pairs_of("sft", asked))
    spec = "kind: eval\nmodel: {path: /runs/sft/model}\nquestions: /data/questions.jsonl\ngrading: {abstain_below: 0.5}"
    strict = filling.run("strict", spec, steps=20, takes={"/runs/sft/model": "facts-sft"}, makes="evaluation")
    again = filling.run("again", spec, steps=20, takes={"/runs/sft/model": "facts-sft"}, makes="evaluation")
    world.evaluations |= {strict: folder, again: folder}
    told = build(world.store, chosen(world.store, ["facts-sft"]), world.found()).headlines[0]
    assert told.settings == ("closed book (grading.abstain_below 0.5)", "closed book (grading.abstain_below null)")
    assert {one.evaluation for one in told.measured} == {world.ids["facts-eval-sft"], again}
    assert len(told.left_out) == 1 and strict in told.left_out[0]
    assert asdict(told)["chain"]
    world.store.close()
