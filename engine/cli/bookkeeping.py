"""`engine rename|tag|note|priority|pin|archive|restore|delete|undo|redo`: names and order; nothing touches a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from engine.cli.output import print_json, say
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import Refused

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.journal import Step


def _done(settings: Settings, ids: list[str]) -> None:
    if settings.json:
        print_json([{"id": identity} for identity in ids])
    else:
        click.echo("\n".join(ids))


def _change(settings: Settings, references: Sequence[str], change: Callable[[Store, list[str]], None]) -> None:
    from engine.store import experiments

    store = settings.open_store()
    # All must be known before any is changed.
    ids = list(dict.fromkeys(experiments.resolve(store, reference) for reference in references))
    change(store, ids)
    _done(settings, ids)


@click.command()
@click.argument("reference", metavar="EXP")
@click.argument("name")
@global_options
@pass_settings
def rename(settings: Settings, reference: str, name: str) -> None:
    """Give an experiment another name."""
    from engine.store import bookkeeping

    _change(settings, (reference,), lambda store, ids: bookkeeping.rename(store, ids[0], name))


@click.command()
@click.argument("reference", metavar="EXP")
@click.argument("tags", nargs=-1, required=True)
@click.option("--remove", is_flag=True, help="Take the tags away.")
@global_options
@pass_settings
def tag(settings: Settings, reference: str, tags: tuple[str, ...], remove: bool) -> None:
    """Add tags to an experiment, or take them away."""
    from engine.store import bookkeeping

    change = bookkeeping.remove_tags if remove else bookkeeping.add_tags
    _change(settings, (reference,), partial(change, tags=tags))


@click.command()
@click.argument("reference", metavar="EXP")
@click.argument("text")
@global_options
@pass_settings
def note(settings: Settings, reference: str, text: str) -> None:
    """Write a line about an experiment; an empty one takes it away."""
    from engine.store import bookkeeping

    _change(settings, (reference,), partial(bookkeeping.set_note, note=text))


@click.command()
@click.argument("reference", metavar="EXP")
@click.argument("priority", metavar="N", type=int)
@global_options
@pass_settings
def priority(settings: Settings, reference: str, priority: int) -> None:
    """Say how urgent a queued experiment is: higher ones begin first (usually 0; write -- before a negative one)."""
    from engine.store import bookkeeping

    _change(settings, (reference,), partial(bookkeeping.set_priority, priority=priority))


@click.command()
@click.argument("references", metavar="EXP…", nargs=-1, required=True)
@click.option("--remove", is_flag=True, help="Take the pins away.")
@global_options
@pass_settings
def pin(settings: Settings, references: tuple[str, ...], remove: bool) -> None:
    """Let experiments stand first in the list."""
    from engine.store import bookkeeping

    _change(settings, references, partial(bookkeeping.pin, pinned=not remove))


@click.command()
@click.argument("references", metavar="EXP…", nargs=-1, required=True)
@global_options
@pass_settings
def archive(settings: Settings, references: tuple[str, ...]) -> None:
    """Take experiments out of the list; restore brings them back."""
    from engine.store import bookkeeping

    _change(settings, references, bookkeeping.archive)


@click.command()
@click.argument("references", metavar="EXP…", nargs=-1, required=True)
@global_options
@pass_settings
def restore(settings: Settings, references: tuple[str, ...]) -> None:
    """Bring archived experiments back into the list."""
    from engine.store import bookkeeping

    _change(settings, references, bookkeeping.restore)


@click.command()
@click.argument("references", metavar="EXP…", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@global_options
@pass_settings
def delete(settings: Settings, references: tuple[str, ...], yes: bool) -> None:
    """Delete experiments and all that was measured, for good. The files on the nodes stay."""
    from engine.store import bookkeeping, experiments

    store = settings.open_store()
    ids = [experiments.resolve(store, reference) for reference in references]
    if not yes:
        if not sys.stdin.isatty():
            raise Refused("delete asks first, and there is no terminal to ask on.", hint="Add --yes.")
        if not click.confirm(f"Delete {', '.join(ids)} with all points, events and samples?", default=False, err=True):
            raise Refused("nothing was deleted.")
    for identity in ids:
        bookkeeping.delete(store, identity)
    _done(settings, ids)


@click.command()
@global_options
@pass_settings
def undo(settings: Settings) -> None:
    """Take back the last change of names, tags, notes, priorities, pins or the archive, whoever made it."""
    from engine.store import journal

    _turned(settings, journal.undo(settings.open_store()), "Undone")


@click.command()
@global_options
@pass_settings
def redo(settings: Settings) -> None:
    """Do again what was undone last."""
    from engine.store import journal

    _turned(settings, journal.redo(settings.open_store()), "Done again")


def _turned(settings: Settings, step: Step, verb: str) -> None:
    if settings.json:
        print_json({"what": step.what, "ids": list(step.ids)})
    else:
        say(settings, f"{verb}: {step.what}.")
        click.echo("\n".join(step.ids))
