"""The global options, accepted before and after the command."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from engine.store.database import Store

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass
class Settings:
    """What the global options said; one object for the whole command line."""

    db: Path | None = None
    json: bool = False
    quiet: bool = False
    color: bool = True
    debug: bool = False

    @property
    def database(self) -> Path:
        """The database's path: `--db`, else `$ENGINE_DB`, else `./experiments.db`."""
        return (self.db or Path(os.environ.get("ENGINE_DB") or "experiments.db")).expanduser().absolute()

    def open_store(self, *, create: bool = False) -> Store:
        """Open the database. Raises NotFound where there is none and `create` is not set."""
        from engine.errors import NotFound
        from engine.store.database import Store

        path = self.database
        if not create and not path.exists():
            raise NotFound(
                "there is no database here.",
                hint="Launch something first, or name one with --db PATH.",
                where=str(path),
            )
        return Store.open(path)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    settings = context.ensure_object(Settings)
    if value is None or value is False or parameter.name is None:
        return
    if parameter.name == "no_color":
        settings.color = False
    else:
        setattr(settings, parameter.name, value)


_OPTIONS = (
    click.option("--db", type=click.Path(path_type=Path), metavar="PATH", help="Database (default: $ENGINE_DB, else ./experiments.db).", **{"expose_value": False, "callback": _remember}),
    click.option("--json", is_flag=True, help="Print one JSON document.", expose_value=False, callback=_remember),
    click.option("--quiet", "-q", is_flag=True, help="No hints, no progress.", expose_value=False, callback=_remember),
    click.option("--no-color", is_flag=True, help="No colours (also: NO_COLOR).", expose_value=False, callback=_remember),
    click.option("--debug", is_flag=True, help="Show the traceback of an error.", expose_value=False, callback=_remember),
)


def global_options(function: Function) -> Function:
    """Add the global options to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


pass_settings = click.make_pass_decorator(Settings, ensure=True)
