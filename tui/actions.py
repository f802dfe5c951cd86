"""Every action of the terminal UI, in one table: it drives the keys, the key bar, the help and the palette."""

from __future__ import annotations

from collections.abc import Iterator

from textual.binding import Binding

from tui.action import Action, always, archivable, interruptible, on_experiment, resumable, stoppable

ACTIONS: tuple[Action, ...] = (
    # the list of runs
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
    # one run, live
    Action(
        "maximise",
        "enter",
        "the chosen chart alone, or all again",
        "screen.maximise",
        always,
        "charts",
        short="maximise",
        cli="metrics {id}",
    ),
    Action(
        "back",
        "escape",
        "undo the last of these, then go back to the list",
        "screen.back",
        always,
        "charts",
        short="back",
    ),
    Action(
        "log",
        "l",
        "the log below the charts",
        "screen.pane('log')",
        always,
        "charts",
        short="log",
        cli="logs {id} --follow",
    ),
    Action(
        "samples",
        "s",
        "what the model wrote at each evaluation",
        "screen.pane('samples')",
        always,
        "charts",
        short="samples",
        cli="samples {id}",
    ),
    Action(
        "events",
        "exclamation_mark",
        "what happened: checkpoints, warnings, errors",
        "screen.pane('events')",
        always,
        "charts",
        short="events",
        cli="show {id}",
    ),
    # a run, in the list or live
    Action(
        "interrupt",
        "I",
        "stop at the end of this step, with a checkpoint",
        "app.stop(False)",
        interruptible,
        "run",
        danger=True,
        cli="stop {id}",
        short="stop",
    ),
    Action(
        "kill",
        "K",
        "stop now; steps since the last checkpoint are lost",
        "app.stop(True)",
        stoppable,
        "run",
        danger=True,
        cli="stop {id} --now",
        short="kill",
    ),
    Action(
        "resume",
        "R",
        "resume from the last good checkpoint",
        "app.resume",
        resumable,
        "run",
        danger=True,
        cli="resume {id}",
        short="resume",
    ),
    Action("copy", "y", "copy the id to the clipboard", "app.copy_id", on_experiment, "run"),
    # its charts and its log
    Action("x-axis", "x", "x axis: steps, tokens, elapsed time", "screen.next_mode", always, "charts", short="x-axis"),
    Action(
        "y-axis",
        "v",
        "y axis: linear, log, symlog, outliers clipped",
        "screen.next_scale",
        always,
        "charts",
        short="y-axis",
    ),
    Action("smoother", "full_stop", "smooth more", "screen.smoother(1)", always, "charts", short="smooth"),
    Action("rougher", "comma", "smooth less", "screen.smoother(-1)", always, "charts"),
    Action(
        "zoom-in",
        "plus,equals_sign",
        "zoom in, at the crosshair or the newest point",
        "screen.zoom(1)",
        always,
        "charts",
        short="zoom",
    ),
    Action("zoom-out", "minus", "zoom out", "screen.zoom(-1)", always, "charts"),
    Action("left", "left", "move the crosshair or the zoomed window to the left", "screen.move(-1)", always, "charts"),
    Action("right", "right", "move it to the right", "screen.move(1)", always, "charts"),
    Action("reset", "0", "show everything again, y linear", "screen.reset", always, "charts"),
    Action(
        "inspect",
        "i",
        "crosshair with exact values in all charts",
        "screen.inspect",
        always,
        "charts",
        short="inspect",
        cli="metrics {id} --format csv",
    ),
    Action("next-charts", "pagedown", "further charts", "screen.page(1)", always, "charts"),
    Action("previous-charts", "pageup", "the charts before", "screen.page(-1)", always, "charts"),
    Action("chart-below", "down,j", "the chart below", "screen.row(1)", always, "charts"),
    Action("chart-above", "up,k", "the chart above", "screen.row(-1)", always, "charts"),
    Action("next-focus", "tab", "the next chart, then the text below", "app.focus_next", always, "charts"),
    Action("previous-focus", "shift+tab", "the chart before", "app.focus_previous", always, "charts"),
    Action("follow", "f", "follow the end of the log, or stop following", "screen.follow", always, "charts"),
    Action("rank", "r", "the log of the next rank", "screen.next_log", always, "charts", cli="logs {id} --rank N"),
    Action("search", "slash", "search the log", "screen.search", always, "charts", cli="logs {id} --grep RE"),
    Action("next-match", "n", "the next line that matches", "screen.match(1)", always, "charts"),
    Action("previous-match", "N", "the line before that matches", "screen.match(-1)", always, "charts"),
    Action("next-run", "right_square_bracket", "the next run of the list", "screen.neighbour(1)", always, "charts"),
    Action(
        "previous-run", "left_square_bracket", "the run before in the list", "screen.neighbour(-1)", always, "charts"
    ),
    # the list of runs again: what is needed less often
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
    # everywhere
    Action("theme", "ctrl+t", "dark or light colours", "app.switch_theme", always),
    Action(
        "palette",
        "colon,ctrl+p",
        "all commands, each with its engine twin",
        "app.command_palette",
        always,
        short="commands",
    ),
    Action("help", "question_mark", "this help", "app.help", always, short="help"),
    Action("quit", "q", "quit; what runs goes on", "app.quit", always, short="quit"),
)
_BY_ID = {action.id: action for action in ACTIONS}
_RANKS = {action.id: place for place, action in enumerate(ACTIONS)}


def find(identity: str | None) -> Action | None:
    """Return the action of that id."""
    return _BY_ID.get(identity or "")


def rank(identity: str | None) -> int:
    """Return the place of an action in the table; what does not stand there comes first."""
    return _RANKS.get(identity or "", -1)


def of_scope(*scopes: str) -> Iterator[Action]:
    """Yield the actions of these scopes, in the table's order."""
    return (entry for entry in ACTIONS if entry.scope in scopes)


def bindings(*scopes: str) -> list[Binding]:
    """Return the key bindings of these scopes; each goes through the app's `act`, which asks `refusal` first."""
    return [
        Binding(
            entry.keys,
            f"app.act('{entry.id}')",
            entry.short or entry.text,
            show=entry.short is not None,
            key_display=entry.key_display,
            id=entry.id,
            tooltip=entry.text,
        )
        for entry in of_scope(*scopes)
    ]
