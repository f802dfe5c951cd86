"""How the list of runs is looked at, as a person chooses it from menus: order, groups, columns, saved views."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual import work

from engine.errors import PlumblineError
from engine.store.filtering.keys import BEST, LAST, SPEC
from engine.store.ordering import NEWEST_FIRST
from engine.telemetry.directions import direction_of
from tui.actions.action import key_name
from tui.run_list import GROUPS, View, keys_to_group_by
from tui.screens.following import FollowingScreen
from tui.screens.menu import Choice, MenuScreen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tui.data import Overview

_ORDERS = (  # key, text, note
    (NEWEST_FIRST, "created", "newest first"),
    ("-heard", "last heard of", "newest first"),
    ("-latest", "latest value of the headline metric", "highest first"),
    ("-done", "share done", "highest first"),
    ("-took", "time taken", "longest first"),
    ("-priority", "priority", "highest first"),
    ("state", "state", "queued first"),
    ("kind", "kind", "a to z"),
    ("name", "name", "a to z"),
)
_TURNED = {
    "newest first": "oldest first",
    "highest first": "lowest first",
    "highest (best) first": "lowest (worst) first",
    "lowest (best) first": "highest (worst) first",
    "longest first": "shortest first",
    "a to z": "z to a",
    "queued first": "queued last",
}  # what an order is called, and what the other way round is
_GROUPS = {
    "none": "one list",
    "kind": "kind",
    "pipeline": "pipeline, by launch",
    "data": "data it was made from",
    "state": "state",
    "tag": "first tag",
    "parent": "parent it was cloned from",
}
assert _GROUPS.keys() == GROUPS.keys()
_SAVE, _PLAIN = "save:", "plain:"  # answers of the menu of views that are no view


class RunChoices(FollowingScreen):
    """A part of the Runs screen."""

    view: View
    overview: Overview | None

    def look(self, view: View) -> None:
        """Show the list as this view has it."""
        raise NotImplementedError

    async def with_specs(self) -> Overview | None:
        """Return the overview with the values of specs in it, as soon as they are read."""
        raise NotImplementedError

    @work
    async def action_sort(self) -> None:
        """Choose the order; the one that holds turns round."""
        overview = self.overview
        now = self.view.sort
        choices = [_order(key, str(place), text, note, now) for place, (key, text, note) in enumerate(_ORDERS, start=1)]
        metrics = _metrics(overview)
        choices += [_order(*_better_first(LAST, metric), now) for metric in metrics]
        choices += [_order(*_better_first(BEST, metric), now) for metric in metrics if direction_of(metric)]
        told = "The order that holds, chosen again, turns round."
        chosen = await self.app.push_screen_wait(MenuScreen("sort by", choices, told=told))
        if chosen is not None:
            self.sort_by(chosen)

    def sort_by(self, key: str) -> None:
        """Sort by a key (see `engine.store.ordering`); by the one that holds, the other way round."""
        if key.removeprefix("-") == self.view.sort.removeprefix("-"):
            key = self.view.sort.removeprefix("-") if self.view.sort.startswith("-") else f"-{self.view.sort}"
        self.look(self.view.changed(sort=key))

    @work
    async def action_group(self) -> None:
        """Choose the groups; with + also the groups within them."""
        overview = await self.with_specs()
        keys = [f"{SPEC}{key}" for key in keys_to_group_by(overview.specs or {})] if overview else []
        hint = f"{key_name('enter')} choose   + groups within   esc close"
        menu = MenuScreen("group by", _groups(keys, self.view.group), hint=hint, others=("plus",))
        chosen = await self.app.push_screen_wait(menu)
        if chosen is None:
            return
        group = chosen.removeprefix("plus:")
        if group in (chosen, "none"):
            self.look(self.view.changed(group=group, then="none"))
            return
        inner = [choice for choice in _groups(keys, self.view.then) if choice.id != group]
        told = f"Within {_GROUPS.get(group, group.removeprefix(SPEC))}:"
        then = await self.app.push_screen_wait(MenuScreen("then by", inner, told=told))
        if then is not None:
            self.look(self.view.changed(group=group, then=then))

    @work
    async def action_columns(self) -> None:
        """Choose the columns."""
        from tui.screens.checklist import ChecklistScreen
        from tui.widgets.run_columns import COLUMNS, FURTHER

        overview = await self.with_specs()
        usual = [column.key for column in COLUMNS]
        ticked = self.view.columns or tuple(usual)
        titles = {column.key: _TITLES.get(column.key, column.title) for column in (*COLUMNS, *FURTHER)}
        known: dict[str, tuple[str, str]] = {key: (title, "") for key, title in titles.items()}
        known |= {f"{LAST}{metric}": (metric, "last value") for metric in _metrics(overview)}
        known |= {f"{SPEC}{key}": (key, "spec") for key in _spec_keys(overview)}
        keys = dict.fromkeys([*ticked, *known])
        choices = [Choice(key, *_text(known, key), current=key in ticked) for key in keys]
        chosen = await self.app.push_screen_wait(ChecklistScreen("columns", choices, usual=usual))
        if chosen is not None:
            self.look(self.view.changed(columns=() if list(chosen) == usual else chosen))

    @work
    async def action_views(self) -> None:
        """Go to a saved view, save this one, or delete one."""
        saved = dict(self.overview.views) if self.overview else {}
        views = [View.read(name, document) for name, document in saved.items()]
        choices = [
            Choice(f"={view.name}", view.name, str(place) if place < 10 else "", _summary(view), view == self.view)
            for place, view in enumerate(views, start=1)
        ]
        choices.append(Choice(_PLAIN, "all runs, newest first", "0", current=self.view == View()))
        refused = "Read-only: this window saves nothing." if self.plumbline.readonly else None
        choices.append(Choice(_SAVE, "save this view…", "s", _summary(self.view), refused=refused))
        hint = f"{key_name('enter')} choose{'   del delete' if views else ''}   esc close"
        chosen = await self.app.push_screen_wait(MenuScreen("views", choices, hint=hint, others=("delete",)))
        if chosen == _PLAIN:
            self.look(View())
        elif chosen == _SAVE:
            await self._save_view(list(saved))
        elif chosen is not None and chosen.startswith("="):
            self.look(View.read(chosen[1:], saved[chosen[1:]]))
        elif chosen is not None and chosen.startswith("delete:=") and not self.plumbline.readonly:
            await self._forget_view(chosen.removeprefix("delete:="))

    async def _save_view(self, names: Sequence[str]) -> None:
        from engine.store import views
        from tui.screens.ask import AskScreen

        told = f"Saved are {_summary(self.view)}."
        name = await self.app.push_screen_wait(
            AskScreen(
                "save this view as",
                value=self.view.name,
                told=told,
                suggestions=names,
                refusal=lambda line: None if line else "A view needs a name.",
            )
        )
        if name is not None:
            try:
                await asyncio.to_thread(views.save, self.plumbline.store, name, self.view.document())
            except PlumblineError as error:
                self.plumbline.say(str(error), "error")
                return
            self.look(View.read(name, self.view.document()))
            self.plumbline.say(f"The view {name} is saved; w goes there.")

    async def _forget_view(self, name: str) -> None:
        from engine.store import views

        try:
            await asyncio.to_thread(views.forget, self.plumbline.store, name)
        except PlumblineError as error:
            self.plumbline.say(str(error), "error")
        else:
            self.plumbline.say(f"The view {name} is deleted.")


_TITLES = {  # of columns whose own titles are too short to choose by
    "name": "name",
    "kind": "kind",
    "note": "note",
    "bar": "progress bar",
    "progress": "share done",
    "headline": "latest value of the headline metric",
    "curve": "its recent curve",
    "speed": "tokens a second",
    "age": "time since it was heard of, or ended",
    "took": "time taken",
    "nodes": "number of nodes",
}


def _groups(keys: Sequence[str], now: str) -> list[Choice]:
    """Return by what runs can be in groups. keys: of specs, with their prefix. now: what holds."""
    usual = [
        Choice(group, text, str(place), current=group == now) for place, (group, text) in enumerate(_GROUPS.items())
    ]
    return [*usual, *(Choice(key, key.removeprefix(SPEC), "", "spec", current=key == now) for key in keys)]


def _order(key: str, digit: str, text: str, note: str, now: str) -> Choice:
    current = key.removeprefix("-") == now.removeprefix("-")
    return Choice(key, text, digit, _TURNED[note] if current and key != now else note, current)


def _better_first(family: str, metric: str) -> tuple[str, str, str, str]:
    """Return (key, digit, text, note) of the order by a metric that has the better end first, if there is a better."""
    text = metric if family == LAST else f"{family}{metric}"
    if direction_of(metric) < 0:
        return f"{family}{metric}", "", text, "lowest (best) first"
    return f"-{family}{metric}", "", text, "highest (best) first" if direction_of(metric) else "highest first"


def _text(known: dict[str, tuple[str, str]], key: str) -> tuple[str, str, str]:
    text, note = known.get(key, (key, "nothing has it now"))
    return text, "", note


def _metrics(overview: Overview | None) -> list[str]:
    from engine.store.filtering.completion import Vocabulary

    return Vocabulary(overview.experiments).metrics() if overview else []


def _spec_keys(overview: Overview | None) -> list[str]:
    from engine.store.filtering.completion import Vocabulary

    keys = Vocabulary(overview.experiments, overview.specs).spec_keys() if overview else []
    return [key for key in keys if key not in _TITLES]


def _summary(view: View) -> str:
    """Return in a few words what a view does."""
    from tui.widgets.run_signs import levels_text

    parts = [view.filter or "all runs"]
    parts += [f"by {levels_text(view)}"] if view.levels else []
    parts += [f"sorted by {view.sort}"] if view.sort != NEWEST_FIRST else []
    parts += [f"{len(view.columns)} columns"] if view.columns else []
    return ", ".join(parts)
