"""`engine db`: the database itself."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.output import print_json, table
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import NotFound, RunFailed


@click.group()
def db() -> None:
    """Check, back up or query the database."""


@db.command()
@global_options
@pass_settings
def path(settings: Settings) -> None:
    """Print where it is."""
    if settings.json:
        print_json({"path": str(settings.database)})
    else:
        click.echo(settings.database)


@db.command()
@global_options
@pass_settings
def check(settings: Settings) -> None:
    """Check that it is whole."""
    from engine.store import maintenance

    problems = maintenance.check(settings.open_store())
    if settings.json:
        print_json({"path": str(settings.database), "problems": problems})
    elif not problems:
        click.echo(f"{settings.database}: whole")
    if problems:
        raise RunFailed("; ".join(problems[:5]) + ".", where=str(settings.database), hint="Restore a backup.")


@db.command()
@click.argument("to", type=click.Path(dir_okay=False, path_type=Path))
@global_options
@pass_settings
def backup(settings: Settings, to: Path) -> None:
    """Copy it to a new file TO, also while runs go on."""
    from engine.store import maintenance

    maintenance.backup(settings.open_store(), to)
    click.echo(str(to))


@db.command()
@click.argument("sql")
@global_options
@pass_settings
def query(settings: Settings, sql: str) -> None:
    """Run one read-only SELECT."""
    from engine.store import maintenance

    if not settings.database.exists():
        raise NotFound("there is no database here.", where=str(settings.database))
    columns, rows = maintenance.query(settings.database, sql)
    if settings.json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        click.echo(table(columns, [["–" if value is None else str(value) for value in row] for row in rows]))
