"""The actions of the launch form, and of the choice of a recipe before it."""

from __future__ import annotations

from tui.actions.action import Action, always

LAUNCH: tuple[Action, ...] = (
    Action("edit", "enter", "edit the field; fold or unfold a section", "screen.edit", always, "launch", short="edit"),
    Action(
        "queue-it",
        "ctrl+j",
        "queue what the plan shows; asks first",
        "screen.queue",
        always,
        "launch",
        danger=True,
        cli="launch FILE --set KEY=VALUE",
        short="queue",
    ),
    Action(
        "find-field",
        "slash",
        "search the fields, also by what they mean",
        "screen.search",
        always,
        "launch",
        short="search",
    ),
    Action(
        "only-changed",
        "d",
        "only what differs from where it began, or all",
        "screen.only_changed",
        always,
        "launch",
        short="diff only",
    ),
    Action(
        "take-back",
        "u,delete",
        "give the field the value that it began with",
        "screen.take_back",
        always,
        "launch",
        short="take back",
    ),
    Action("next-choice", "right", "the next choice; unfold", "screen.choose(1)", always, "launch"),
    Action("previous-choice", "left", "the choice before; fold", "screen.choose(-1)", always, "launch"),
    Action("fold", "space", "turn yes and no; fold or unfold a section", "screen.turn", always, "launch"),
    Action(
        "preview",
        "p",
        "the first rows of the data, as the trainer sees them",
        "screen.preview",
        always,
        "launch",
        cli="data show FILE --spec SPEC",
        short="preview data",
    ),
    Action(
        "copy-command",
        "y",
        "copy the engine command to the clipboard",
        "screen.copy_command",
        always,
        "launch",
        short="copy command",
    ),
    Action(
        "save-preset",
        "ctrl+s",
        "save it as a recipe",
        "screen.save",
        always,
        "launch",
        writes=True,
        cli="new KIND --from RECIPE --set KEY=VALUE -o FILE",
        short="save recipe",
    ),
    Action("other-pane", "tab", "the other pane: the fields, or the plan", "screen.pane", always, "launch"),
    Action(
        "leave-form", "escape", "end the search; then leave the form", "screen.leave", always, "launch", short="back"
    ),
)
RECIPES: tuple[Action, ...] = (
    Action("take-recipe", "enter", "open the form with this recipe", "screen.take", always, "recipes", short="open"),
    Action("recipe-path", "slash", "type the path of a recipe", "screen.path", always, "recipes", short="type a path"),
    Action("leave-recipes", "escape", "back", "screen.leave", always, "recipes", short="back"),
)  # fmt: skip
