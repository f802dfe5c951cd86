"""The page of experiments side by side: its numbers are those of the database, and nothing in it is obeyed."""

from __future__ import annotations

from collections.abc import Iterator

import lxml.html
import pytest

from engine.errors import InvalidInput
from engine.report.comparing.building import build
from engine.report.comparing.page import to_html
from engine.report.comparing.prompts_html import marked
from engine.report.listing.files import written
from engine.spec.loading import parse_spec
from engine.store import attempts, bookkeeping, experiments, facts
from engine.store.database import Store
from engine.telemetry.reader import Chunk
from engine.telemetry.records import MetricsRecord, Record, SampleRecord, StartRecord
from engine.telemetry.states import State
from tests.report.world import World, fill

HOSTILE = "</td><script>alert(1)</script>\x1b[2J\u202e & <img src=x>"
PPO = "kind: ppo\nmodel: {path: /m}\nrewards: {rule: {kind: exact_match}}\ndata: {train: /d.jsonl}\n"
PROMPT = "Ono was born in Arvik.\nWhere was Ono born?"
SAID = ("Ono was born in Arvik.", "Ono was born in Belmo, where kings live.")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = fill(tmp_path_factory.mktemp("world"), 20, ("sft", "ppo"))
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, list[str]]]:
    """Two PPO runs, the second a clone that is hostile in all that a person or a model writes."""
    store = Store.open(tmp_path_factory.mktemp("two") / "experiments.db")
    ids: list[str] = []
    for number, (answer, target) in enumerate(zip(SAID, (3.0, 6.0), strict=True)):
        spec = parse_spec(PPO, overrides=[f"ppo.kl_target={target}"])
        parent = ids[0] if ids else None
        identity = experiments.create(store, spec, name=HOSTILE if number else "first", parent_id=parent)
        ids.append(identity)
        begun = attempts.begin(store, identity, run_dir="/r", placement=[])
        for state in (State.STARTING, State.RUNNING):
            attempts.transition(store, identity, begun.number, state)
        records: list[Record] = [StartRecord(1e9, 1, 0, 30)]
        for step in range(1, 31):
            values = {"score": (1 + number) * step / 30, "kl": float(step), "loss": float("nan") if step == 30 else 1.0}
            records.append(MetricsRecord(1e9 + step, 1, step, values))
        assert facts.ingest(store, identity, "metrics.jsonl", Chunk(tuple(records), 9, (), False), 0)
        scores = {"score": 1.0 - 2 * number}
        written = [SampleRecord(1e9, 1, 30, PROMPT, answer, "Arvik", scores)]
        written += [SampleRecord(1e9, 1, 30, f"{HOSTILE}?", HOSTILE * (1 + number), HOSTILE, scores)]
        assert facts.ingest(store, identity, "samples.jsonl", Chunk(tuple(written), 9, (), False), 0)
    bookkeeping.set_note(store, ids[1], HOSTILE)
    yield store, ids
    store.close()


def page(store: Store, ids: list[str]) -> lxml.html.HtmlElement:
    return lxml.html.document_fromstring(to_html(build(store, ids)))


def below(tree: lxml.html.HtmlElement, key: str) -> list[lxml.html.HtmlElement]:
    """What stands in a section."""
    found = []
    for element in tree.get_element_by_id(key).itersiblings():
        if element.tag == "h2":
            break
        found.append(element)
    return found


def rows(tree: lxml.html.HtmlElement, key: str) -> dict[str, list[str]]:
    """The rows of the first table of a section."""
    table = next(one for part in below(tree, key) for one in part.iter("table"))
    told = [[" ".join(" ".join(cell.itertext()).split()) for cell in row] for row in table.findall("tbody/tr")]
    return {row[0]: row[1:] for row in told}


def test_two_runs_stand_side_by_side_with_their_differences(two: tuple[Store, list[str]]) -> None:
    store, ids = two
    tree = page(store, ids)
    assert rows(tree, "spec") == {"ppo.kl_target": ["3", "6"]}
    finals = rows(tree, "metrics")
    assert finals["score"] == ["1", "2 ▲ +1 (+100%)"] and finals["kl nats/sequence"] == ["30", "30 ="]
    assert finals[next(key for key in finals if key.startswith("loss"))] == ["not finite", "not finite"]
    charts = [figure.findtext(".//b") for part in below(tree, "curves") for figure in part.iter("figure")]
    assert charts[:2] == ["score", "kl"]
    assert len(tree.xpath("//h2[@id='tradeoff']/following-sibling::figure[1]//path")) == 2
    assert below(tree, "health")[0].text_content().count("loss is no finite number since step 30.") == 2
    card = tree.find_class("example")[0]
    assert [one.text_content() for one in card.iter("ins")] == ["Arvik", "Belmo, where kings live"]
    assert "{Ono was born in Belmo, where kings live.}" in card.text_content() and "Arvik" in card.text_content()
    assert [ids[0] in one.text_content() for one in card.find_class("who")] == [True, False]


def test_what_comes_from_outside_is_shown_and_never_obeyed(two: tuple[Store, list[str]]) -> None:
    store, ids = two
    listed = written(store, "html", experiments.list_experiments(store), HOSTILE)
    for text in (to_html(build(store, ids)), to_html(build(store, ids[1:])), listed):
        tree = lxml.html.document_fromstring(text)
        assert not any(tree.iter("script", "img", "link", "iframe")) and "\x1b" not in text and "\u202e" not in text
        assert tree.text_content().count("<script>alert(1)</script>") >= 1
        assert not [name for one in tree.iter() for name in one.attrib if name in ("src", "onload", "onclick")]
        assert all(link.get("href").startswith("#") for link in tree.iter("a"))
        assert "default-src 'none'" in tree.xpath("//meta[@http-equiv]/@content")[0]


def test_a_run_alone_has_its_curves_lineage_and_the_evaluations_of_its_model(whole: World) -> None:
    tree = page(whole.store, [whole.ids["facts-ppo"]])
    keys = [heading.get("id") for heading in tree.iter("h2")]
    assert keys == ["health", "curves", "tradeoff", "metrics", "outcomes", "samples", "runs"]
    assert tree.find_class("headline") and "facts-rm (rm-0001" in tree.get_element_by_id("ppo-0001").text_content()
    assert rows(tree, "metrics")["kl nats/sequence"][1].startswith("divergence of the policy")


def test_evaluations_are_held_against_the_first_one(whole: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [whole.ids["facts-eval-sft"], whole.ids["facts-eval-ppo"]]
    tree = page(whole.store, ids)
    assert [one.text_content() for one in tree.iter("h3")][1] == f"A {ids[0]} → B {ids[1]}"
    assert tree.find_class("matrix") and tree.find_class("sides") and "not on this machine" not in tree.text_content()
    monkeypatch.setattr("engine.report.files.results_here", lambda store, identity, made: None)
    absent = page(whole.store, ids)
    assert f"The answers of {', '.join(ids)} are not on this machine" in absent.text_content()


def test_the_same_database_leaves_the_same_bytes_and_wrong_ids_are_refused(two: tuple[Store, list[str]]) -> None:
    store, ids = two
    assert to_html(build(store, ids)) == to_html(build(store, ids))
    for wrong in ([], [ids[0], ids[0]], [f"x-{number}" for number in range(9)]):
        with pytest.raises(InvalidInput, match="1 to 8 different"):
            build(store, wrong)


def test_marks_of_an_answer_nest_and_a_long_one_is_cut() -> None:
    text = marked("It opened <b> in May.", [(3, 21)], [(10, 13)])
    shown = lxml.html.fragment_fromstring(f"<p>{text}</p>")
    assert shown.text_content() == "It {opened <b> in May.}" and shown.findtext(".//ins//bdi") == "<b>"
    assert lxml.html.fragment_fromstring(f"<p>{marked('x' * 9000, [(0, 9000)], [])}</p>").text_content().endswith("} …")
