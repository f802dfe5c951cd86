"""The actions of the list of runs."""

from __future__ import annotations

from tui.actions.action import Action, always, archivable, on_experiment

RUNS: tuple[Action, ...] = (
    Action(
        "open",
        "enter",
        "open the run: live curves, log, samples",
        "screen.open",
        on_experiment,
        "runs",
        cli="show {id}",
        short="open",
    ),
    Action(
        "filter",
        "slash",
        "filter by id, name, kind, state or tag",
        "screen.filter",
        always,
        "runs",
        cli="ls --filter EXPR",
        short="filter",
    ),
    Action(
        "new",
        "n",
        "start a new run from a recipe",
        "app.new",
        always,
        "runs",
        danger=True,
        cli="launch FILE --hostfile H",
        short="new",
    ),
)
RUNS_LATER: tuple[Action, ...] = (  # what is needed less often than the actions on the run itself
    Action(
        "archive",
        "a",
        "archive the run, or bring it back",
        "app.archive",
        archivable,
        "runs",
        writes=True,
        cli="archive {id}",
        short="archive",
    ),
    Action("pane", "tab", "the other pane: the list, or its details", "screen.pane", always, "runs", short="pane"),
    Action("archived", "A", "show archived runs too, or hide them", "screen.archived", always, "runs", cli="ls --all"),
    Action("unfilter", "escape", "show all again, and go back to the list", "screen.unfilter", always, "runs"),
)
