"""The actions of the indexes: their builds, questions to them, answers with their passages."""

from __future__ import annotations

from tui.actions.action import Action, always, on_experiment

INDEX: tuple[Action, ...] = (
    Action(
        "index-open",
        "enter",
        "open the build: its curves, log, events",
        "screen.open",
        on_experiment,
        "index",
        cli="show {id}",
        short="open",
    ),
    Action(
        "index-ask",
        "slash",
        "ask the index a question, or the two that are marked",
        "screen.ask",
        always,
        "index",
        cli="rag query {id} QUESTION",
        short="ask",
    ),
    Action(
        "index-answer",
        "w",
        "a model's answer, with the passages found and without any",
        "screen.answer",
        always,
        "index",
        cli="rag answer {id} QUESTION --model MODEL",
        short="answer",
    ),
    Action(
        "index-mark",
        "space",
        "mark: two that are marked are asked side by side",
        "screen.mark",
        on_experiment,
        "index",
        short="mark",
    ),
    Action(
        "index-mode",
        "v",
        "search by meaning (dense), words (lexical) or both (hybrid)",
        "screen.next_mode",
        always,
        "index",
        short="mode",
        cli="rag query {id} QUESTION --mode MODE",
    ),
    Action(
        "index-model",
        "M",
        "choose the model that answers",
        "screen.choose_model",
        always,
        "index",
        short="model",
    ),
)
INDEX_LATER: tuple[Action, ...] = (
    Action("index-more", "plus,equals_sign", "one passage more", "screen.passages(1)", always, "index"),
    Action("index-fewer", "minus", "one passage less", "screen.passages(-1)", always, "index"),
    Action(
        "index-pane",
        "tab",
        "the next pane: indexes, passages, details",
        "screen.pane",
        always,
        "index",
        short="pane",
        cli="rag show {id}",
    ),
    Action("index-back", "escape", "give up asking; go back", "screen.back", always, "index"),
)
