"""The palette: every action that can be done now, each with the `engine` command that does the same."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from tui.actions import table
from tui.actions.action import Action

if TYPE_CHECKING:
    from tui.app import PlumblineApp


class ActionCommands(Provider):
    """The actions of the screen below the palette, and those of everywhere."""

    async def discover(self) -> Hits:
        """Yield all of them, in the table's order."""
        for entry, text, twin in self._entries():
            yield DiscoveryHit(text, self._command(entry), text=text, help=twin)

    async def search(self, query: str) -> Hits:
        """Yield those whose text or `engine` command match."""
        matcher = self.matcher(query)
        for entry, text, twin in self._entries():
            score = max(matcher.match(text), matcher.match(twin or "") * 0.8)
            if score > 0:
                yield Hit(score, matcher.highlight(text), self._command(entry), text=text, help=twin)

    def _entries(self) -> Iterator[tuple[Action, str, str | None]]:
        app = cast("PlumblineApp", self.app)
        context = app.context_of(self.screen)
        active = {binding.binding.id for binding in self.screen.active_bindings.values()}
        scopes = {entry.scope for entry in table.ACTIONS if entry.id in active}  # where another has the key of one, too
        for entry in table.ACTIONS:
            if entry.scope in scopes and entry.id != "palette" and entry.refusal(context) is None:
                yield entry, f"{entry.text}  ({entry.key_display})", entry.twin(context, app.named_database)

    def _command(self, entry: Action) -> partial[bool]:
        return partial(self.app.call_later, cast("PlumblineApp", self.app).action_act, entry.id)
