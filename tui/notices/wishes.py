"""What a person wants to be told of, and how: a YAML file.

on: [failed, lost, succeeded, verdict]
bell: true
osc9: true
webhook: https://hooks.example.org/plumbline
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from engine.errors import InvalidInput
from tui.own_files import read_mapping

EVENTS = ("failed", "lost", "succeeded", "verdict")  # the last one: health of severity error
_KEYS = ("on", "bell", "osc9", "webhook")
_ADVICE = "Its keys are on: [failed, lost, succeeded, verdict], bell: true, osc9: true, webhook: URL."


@dataclass(frozen=True, slots=True)
class Wishes:
    """Unless a file says otherwise, the terminal's bell rings for what failed or is lost, and that is all."""

    on: frozenset[str] = frozenset({"failed", "lost"})  # of EVENTS
    bell: bool = True
    osc9: bool = False  # a notification of the desktop, made by terminals that know OSC 9
    webhook: str | None = None  # URL that gets a POST of JSON

    @property
    def any(self) -> bool:
        """Whether there is anything to tell, and a way to tell it."""
        return bool(self.on) and (self.bell or self.osc9 or self.webhook is not None)


def read(file: Path) -> Wishes:
    """Return what a file says.

    Raises:
        NotFound: if there is no such file.
        InvalidInput: if something in it is wrong.
    """

    def wrong(problem: str) -> InvalidInput:
        return InvalidInput(problem, hint=_ADVICE, where=str(file))

    found = read_mapping(file, holds="notices", lines="KEY: VALUE", advice=_ADVICE)
    for key in found:
        if key not in _KEYS:
            raise wrong(f"{key} is no key.")
    usual = Wishes()
    on = found.get("on", sorted(usual.on))
    if not isinstance(on, list) or not all(event in EVENTS for event in on):
        raise wrong(f"on: {on!r} must be a list of {', '.join(EVENTS)}.")
    for key in ("bell", "osc9"):
        if not isinstance(found.get(key, False), bool):
            raise wrong(f"{key}: {found[key]!r} must be true or false.")
    webhook = found.get("webhook")
    if webhook is not None and not _is_url(webhook):
        raise wrong("webhook must be a URL that begins with https:// or http://.")
    return Wishes(frozenset(on), found.get("bell", usual.bell), found.get("osc9", usual.osc9), webhook)


def _is_url(value: object) -> bool:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
