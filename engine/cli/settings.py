"""The global options, accepted before and after the command."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from engine.dispatch.records import Records
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

    @property
    def records(self) -> Records:
        """The database, for what looks things up and tells people what it found."""
        from engine.cli.output import say
        from engine.dispatch.records import Records

        return Records(self.database, lambda sentence: say(self, sentence))

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


def _option(*names: str, help: str, **more: Any) -> Callable[[Function], Function]:
    return click.option(*names, help=help, expose_value=False, callback=_remember, **more)


_OPTIONS = (
    _option(
        "--db",
        help="Database (default: $ENGINE_DB, else ./experiments.db).",
        type=click.Path(path_type=Path),
        metavar="PATH",
    ),
    _option("--json", help="Print one JSON document.", is_flag=True),
    _option("--quiet", "-q", help="No hints, no progress.", is_flag=True),
    _option("--no-color", help="No colours (also: NO_COLOR).", is_flag=True),
    _option("--debug", help="Show the traceback of an error.", is_flag=True),
)


def global_options(function: Function) -> Function:
    """Add the global options to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


pass_settings = click.make_pass_decorator(Settings, ensure=True)
