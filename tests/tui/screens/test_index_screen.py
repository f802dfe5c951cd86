"""The Index screen over real indexes: the list, what is told of one, questions and answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pytest
from textual.pilot import Pilot

from engine.spec.loading import parse_spec
from engine.store import attempts, experiments, index_measures
from engine.store.index_measures import IndexMeasure
from engine.telemetry.records import EventRecord, MetricsRecord, StartRecord
from engine.telemetry.states import State
from tests.rag.making import make_index, spec_of, write_rows
from tests.tui.world import HOSTILE, World, drive, screen_text, shows, until
from tui.index.asking import Asker
from tui.index.passage_text import Lane, lane_lines
from tui.screens.index import IndexScreen
from tui.screens.run import RunScreen
from tui.text.wrapping import wrapped
from tui.widgets.detail_pane import DetailPane
from tui.widgets.row_table import Column, fit
from tui.widgets.status_line import StatusLine

RIVERS = {"nile": "The Nile is a river in Africa.", "rhine": "The Rhine is a river through Basel."}
TOWERS = {"tower": f"The tower {HOSTILE} stands by the river.", "blank": "   "}


def built(world: World, name: str, texts: Mapping[str, str], **metrics: float) -> str:
    """An index of these texts, and the experiment that made it."""
    folder = world.store.path.parent / name
    corpus = write_rows(folder / "corpus.jsonl", texts)
    make_index(folder / "index", spec_of(corpus))
    spec = parse_spec(f"kind: rag\nname: {name}\ncorpus: {{path: {corpus}}}\n")
    identity = experiments.create(world.store, spec, name=name)
    number = world.begin(identity)
    made = {"kind": "index", "path": str(folder / "index"), "sha256": "ab"}
    event = EventRecord(1.0, number, "artifact", "Made the index.", step=len(texts), data=made)
    world.ingest(identity, "events.jsonl", [event])
    world.ingest(identity, "metrics.jsonl", [MetricsRecord(2.0, number, len(texts), metrics)])
    attempts.transition(world.store, identity, number, State.SUCCEEDED)
    return identity


def measured(identity: str, recall: float, *, age: float) -> IndexMeasure:
    """What was found of an index `age` seconds ago, before it was changed."""
    return IndexMeasure(
        experiment_id=identity,
        path="/index",
        manifest_sha256="00",
        questions="/data/questions.jsonl",
        questions_sha256="11",
        count=12,
        mode="hybrid",
        fusion="ranks",
        settings={},
        figures={"recall@5": [recall, 0.1, 0.5], "ndcg@10": None},
        seconds=0.1,
        latency_p50=0.004,
        latency_p99=0.01,
        measured_at=time.time() - age,
    )


def said(pilot: Pilot[None]) -> str:
    return pilot.app.screen.query_one(StatusLine).sentence


@pytest.mark.presses("go-index", "index-open")
def test_the_list_tells_of_finished_and_running_builds_and_the_pane_what_one_holds(world: World) -> None:
    towers = built(world, "towers", TOWERS, **{"recall@5": 0.75, "query_seconds": 0.002})
    index_measures.keep(world.store, [measured(towers, 0.125, age=900.0), measured(towers, 0.25, age=200.0)])
    spec = parse_spec("kind: rag\nname: big\ncorpus: {path: /data}\n")
    running = experiments.create(world.store, spec, name="big")
    world.begin(running, total=20_000)
    begun = StartRecord(time.time() - 100, 1, 0, 20_000)
    world.ingest(running, "metrics.jsonl", [begun, MetricsRecord(3.0, 1, 5_000, {"chunks_per_second": 50.0})])

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "rag-0002")
        await pilot.press("6")
        await shows(pilot, "2 indexes", "5,000/20,000", "chunks/s", "5m0", "0.750", "BM25")
        await pilot.press("j")
        await shows(pilot, "time of a query", "left out", "1 input", "corpus.jsonl:2", "no dense search", "settings")
        await shows(pilot, "quality, by the build", "quality, hybrid by ranks", "12 of questions.jsonl", "3m")
        await shows(pilot, "0.250", "0.100-0.500", "The index was changed since then.")
        pane = pilot.app.screen.query_one(DetailPane)
        pane.styles.width = 8
        await until(pilot, lambda: "The index was changed" not in screen_text(pilot.app.screen))
        pane.styles.width = None
        await shows(pilot, "The index was changed since then.")  # broken anew for the width it has
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))

    drive(world.app(), scenario, size=(120, 60))


@pytest.mark.presses("index-mark", "index-ask", "index-fewer", "index-mode")
def test_two_marked_indexes_answer_side_by_side_and_what_is_hostile_is_only_shown(world: World) -> None:
    built(world, "rivers", RIVERS)
    built(world, "towers", TOWERS)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "rag-0002")
        await pilot.press("6")
        await shows(pilot, "2 indexes")
        await pilot.press("space", "space", "slash", *"river", "enter")
        await shows(pilot, "A rag-0002  towers", "B rag-0001  rivers", "The Rhine is a river", "corpus.jsonl:1")
        await shows(pilot, "[red]gone[/red]", "‹202E›")
        await pilot.press("minus", "minus", "minus", "minus", "v", "v")
        await shows(pilot, "mode lexical", "1 passage")
        await until(
            pilot, lambda: ("Rhine is" in screen_text(pilot.app.screen)) != ("Nile is" in screen_text(pilot.app.screen))
        )
        await pilot.press("escape", "k", "space", "slash")
        assert isinstance(pilot.app.screen, IndexScreen)
        await pilot.press("enter")
        await until(pilot, lambda: "B rag-0001" not in screen_text(pilot.app.screen))

    drive(world.app(), scenario, size=(140, 40))


@pytest.mark.presses("index-answer", "index-back")
def test_what_fails_is_a_sentence_and_escape_gives_up_and_leaving_ends_the_processes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(world, "rivers", RIVERS)
    closed: list[str] = []
    close = Asker.close

    async def closing(self: Asker) -> None:
        await close(self)
        closed.append("closed")

    monkeypatch.setattr(Asker, "close", closing)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "rag-0001")
        await pilot.press("6")
        await shows(pilot, "1 index")
        await pilot.press("w")
        await until(pilot, lambda: "/ asks a question" in said(pilot))
        await pilot.press("slash", *"river", "enter")
        await shows(pilot, "asking… ", "esc gives up")
        await pilot.press("escape")
        await shows(pilot, "Given up before there was an answer.")
        await pilot.press("v")  # there are no vectors
        await shows(pilot, "mode dense needs vectors", "Search it with mode lexical")
        await pilot.press("1")
        await until(pilot, lambda: bool(closed))

    drive(world.app(), scenario)


@pytest.mark.presses("index-ask", "index-answer", "index-model", "index-more")
def test_a_model_answers_with_passages_and_without(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    built(world, "rivers", RIVERS)
    (world.store.path.parent / "model").mkdir()
    (world.store.path.parent / "model" / "config.json").write_text("{}")
    asked: list[Sequence[str]] = []
    told = {"abstained": False, "probability": 0.9, "ended": True, "wrong_citations": [], "support": None}

    async def engine(words: Sequence[str]) -> Mapping[str, object]:
        asked.append(words)
        return {"answers": [{**told, "text": "Africa", "passages": [{}]}, {**told, "text": "Peru", "passages": None}]}

    monkeypatch.setattr("tui.index.asking.document", engine)  # tests/cli has the real one: it takes many seconds

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "rag-0001")
        await pilot.press("6")
        await shows(pilot, "1 index")
        await pilot.press("slash", *"-- where is the Nile?", "enter")
        await shows(pilot, "Nile is a river")
        await pilot.press("w")
        await shows(pilot, "the model that answers", "a folder")
        await pilot.press("f")
        await shows(pilot, "the folder of a model")
        await pilot.press(*"nowhere", "enter")
        await shows(pilot, "There is no model in nowhere")
        await pilot.press("ctrl+u", *"model", "enter")
        await shows(pilot, "model model", "with 1 passage", "Africa", "without passages", "Peru", "probability 0.90")
        await pilot.press("plus")
        await shows(pilot, "6 passages")
        await pilot.press("M")
        await shows(pilot, "the model that answers", "model")
        await pilot.press("escape")
        assert asked[-1][:2] == ["rag", "answer"] and asked[-1][-3:] == ["--", "rag-0001", "-- where is the Nile?"]

    drive(world.app(), scenario)


def test_an_empty_screen_names_the_next_key(world: World) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: pilot.app.store_is_open)  # type: ignore[attr-defined]
        await pilot.press("6")
        await shows(pilot, "No indexes yet.", "engine launch index.yaml")
        await pilot.press("slash", "x", "enter")
        await until(pilot, lambda: "There is no index to ask." in said(pilot))

    drive(world.app(), scenario)


@pytest.mark.presses("index-pane", "index-back")
@pytest.mark.parametrize("size", [(80, 24), (60, 15)])
def test_it_holds_in_every_size(world: World, size: tuple[int, int]) -> None:
    built(world, "rivers", RIVERS)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "rag-0001")
        await pilot.press("6")
        await shows(pilot, "1 index", "a question")
        await pilot.press("tab", "tab")
        await shows(pilot, "documents 2")
        await pilot.press("escape")
        await shows(pilot, "1 index")

    drive(world.app(), scenario, size=size)


def test_narrow_tables_leave_out_what_matters_least() -> None:
    columns = (
        Column("a", "first", 0),
        Column("b", "second", 2),
        Column("c", "third", 1),
        Column("d", "", 3, needed=False),
    )
    from tui.widgets.row_table import Cell

    row = {name: Cell(text) for name, text in (("a", "12345"), ("b", "1"), ("c", "1"), ("d", ""))}
    assert [(column.key, size) for column, size in fit(20, columns, [row])] == [("a", 5), ("b", 6), ("c", 5)]
    assert [column.key for column, _ in fit(15, columns, [row])] == ["a", "c"]
    assert [column.key for column, _ in fit(3, columns, [row])] == ["a"]


def test_a_claim_that_no_passage_supports_says_so_in_a_word() -> None:
    claims = [
        {"text": "It is in Oslo", "score": 0.9, "supported": True},
        {"text": "red", "score": 0.0, "supported": False},
    ]
    told = {"text": "Oslo [3]", "abstained": False, "probability": 0.5, "ended": True, "wrong_citations": [3]}
    answered = {"answers": [{**told, "passages": [{}], "support": {"claims": claims}}]}
    text = wrapped(lane_lines(Lane(answered=answered), 0.0), 60).plain
    assert "supported 0.90  It is in Oslo" in text and "✖ unsupported 0.00  red" in text
    assert "with 1 passage\n" in text and "cites passages that there are not: 3" in text
