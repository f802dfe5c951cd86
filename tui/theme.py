"""The colours, as two themes with the same variables, and how each state looks: a word and a glyph."""

from __future__ import annotations

from textual.theme import Theme

from engine.telemetry.states import State
from tui.canvas.charset import ASCII, current

# How the cursor, and the title of the pane that has the focus, stand out: beside their colours, and without any.
STYLES = {
    "block-cursor-text-style": "bold",
    "block-cursor-blurred-text-style": "none",
    "focused-title-style": "bold",
}
COLORLESS_STYLES = {
    "block-cursor-text-style": "reverse",
    "block-cursor-blurred-text-style": "underline",
    "focused-title-style": "bold reverse",
}

DARK = Theme(
    name="plumbline-dark",
    dark=True,
    primary="#7aa2f7",
    secondary="#9d8cf5",
    accent="#7dcfff",
    success="#8fce84",
    warning="#e5b567",
    error="#f07a84",
    foreground="#d5d9e6",
    background="#11131a",
    surface="#171a23",
    panel="#1e222e",
    variables={
        "border": "#323848",
        "border-blurred": "#262b38",
        "block-cursor-background": "#2b3550",
        "block-cursor-foreground": "#f2f4fb",
        **STYLES,
        "block-cursor-blurred-background": "#212738",
        "footer-key-foreground": "#7dcfff",
        "scrollbar": "#323848",
        "scrollbar-hover": "#454d63",
        "scrollbar-active": "#5a6480",
        "scrollbar-background": "#11131a",
        "scrollbar-background-hover": "#11131a",
        "scrollbar-background-active": "#11131a",
        "input-selection-background": "#7aa2f7 30%",
    },
)
LIGHT = Theme(
    name="plumbline-light",
    dark=False,
    primary="#3557b7",
    secondary="#6b4fc0",
    accent="#0b72a8",
    success="#2f7d32",
    warning="#93610a",
    error="#b3303c",
    foreground="#23283a",
    background="#f7f8fb",
    surface="#ffffff",
    panel="#eceff6",
    variables={
        "border": "#bcc4d6",
        "border-blurred": "#d8dde8",
        "block-cursor-background": "#d5e0f7",
        "block-cursor-foreground": "#141824",
        **STYLES,
        "block-cursor-blurred-background": "#e6ebf5",
        "footer-key-foreground": "#0b72a8",
        "scrollbar": "#c6cddd",
        "scrollbar-hover": "#aab3c8",
        "scrollbar-active": "#8d97b0",
        "scrollbar-background": "#f7f8fb",
        "scrollbar-background-hover": "#f7f8fb",
        "scrollbar-background-active": "#f7f8fb",
        "input-selection-background": "#3557b7 25%",
    },
)

_GLYPHS = {
    State.QUEUED: ("○", "o"),
    State.STAGING: ("◔", "o"),
    State.STARTING: ("◑", "o"),
    State.RUNNING: ("●", "*"),
    State.SUCCEEDED: ("✔", "+"),
    State.FAILED: ("✖", "x"),
    State.STOPPED: ("■", "#"),
    State.LOST: ("?", "?"),
}
STATE_COLORS = {
    State.QUEUED: "$foreground 65%",
    State.STAGING: "$accent",
    State.STARTING: "$accent",
    State.RUNNING: "$success",
    State.SUCCEEDED: "$foreground 85%",
    State.FAILED: "$error",
    State.STOPPED: "$warning",
    State.LOST: "$error",
}
# Of the runs or series of a chart, in order; each has a marker too.
SERIES_COLORS = (
    *("$accent", "$success", "$warning", "$secondary", "$error", "$primary"),
    *("$foreground", "$foreground 60%"),
)


def glyph(state: State) -> str:
    """Return the one character that stands beside the word of a state."""
    return _GLYPHS[state][current() is ASCII]
