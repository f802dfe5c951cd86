"""Groups of commands whose modules are imported when they are called."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """A group that imports a command when it is called, and names the nearest one when it is not there.

    places: MODULE:ATTRIBUTE of each command, below `engine.cli`.
    """

    def __init__(self, *arguments: Any, places: Mapping[str, str], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self.places.get(cmd_name)
        if place is None:
            return None
        module, attribute = place.split(":")
        command = getattr(importlib.import_module(f"engine.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.places and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.places, n=1)
            advice = f" Did you mean {near[0]}?" if near else f" See {ctx.command_path} --help."
            raise click.UsageError(f"there is no command {args[0]}.{advice}", ctx)
        return super().resolve_command(ctx, args)
