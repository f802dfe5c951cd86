"""Which fields of a form are listed: those that match, those that were changed, none of a folded section."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tui.form.fields import Field


def listed(
    fields: Sequence[Field], *, search: str = "", only_changed: bool = False, folded: Collection[str] = ()
) -> list[Field]:
    """Return the fields to show, with the headings that they stand under.

    Args:
        fields: all of them, in order.
        search: words, each of which must stand in the key or in what it says of itself.
        only_changed: leave out what is as it began.
        folded: keys of sections whose fields are not shown; what is searched for is shown all the same.
    """
    words = search.lower().split()
    narrowed = bool(words) or only_changed
    kept: list[Field] = []
    folded_at: int | None = None
    for field in fields:
        if not narrowed and folded_at is not None and field.depth > folded_at:
            continue
        folded_at = field.depth if field.is_section and field.key in folded else None
        if not narrowed or (_holds(field, words) and (field.changed or not only_changed)) or field.is_section:
            kept.append(field)
    return _without_empty_headings(kept, words, only_changed=only_changed) if narrowed else kept


def _holds(field: Field, words: Sequence[str]) -> bool:
    said = f"{field.key} {field.description} {' '.join(field.choices)}".lower()
    return all(word in said for word in words)


def _without_empty_headings(fields: Sequence[Field], words: Sequence[str], *, only_changed: bool) -> list[Field]:
    found: list[Field] = []
    below: int | None = None  # the least depth of what was kept last
    for field in reversed(fields):
        matches = _holds(field, words) and (field.changed or not only_changed)
        holds_some = below is not None and field.depth < below
        if not field.is_section or holds_some or (matches and field.changed):
            found.append(field)
            below = field.depth
    return found[::-1]


def counted(fields: Sequence[Field], shown: Sequence[Field]) -> str:
    """Return how many there are: "7 of 46 changed", or, when some are not shown, "3 of 46 shown, 7 changed"."""
    every = [field for field in fields if not field.is_section]
    seen = sum(not field.is_section for field in shown)
    changed = sum(field.changed for field in fields)
    told = f"{changed} changed" if changed else "none changed"
    return f"{len(every)} fields, {told}" if seen == len(every) else f"{seen} of {len(every)} fields, {told}"
