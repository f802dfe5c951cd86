"""Which checkpoints are complete: what each run directory holds of them, and what all hold together.

The folder of a checkpoint is complete once its COMPLETE file is there and all files that this lists have the size that
it says. Where nodes have run directories of their own, each has a part: the files of its ranks, under a COMPLETE of
its own that lists the other parts as well. What is complete in all run directories, and was saved together, counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import Refused
from engine.job import durable
from engine.job.folders import Folders, Place

COMPLETE = "COMPLETE"
UNFINISHED = ".tmp-"  # before the name of what is being written


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Which checkpoint it is: its step, and what was drawn when it was saved."""

    step: int
    id: str

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"step-{self.step:08d}"


@dataclass(frozen=True, slots=True)
class Held:
    """A checkpoint that is complete in a run directory."""

    key: Key
    folder: str  # its name; unfinished if it was written everywhere but not renamed
    places: tuple[Place, ...]  # where it was written
    ranks: frozenset[int]  # whose files are here
    replicated: bool  # whether networks and optimisers are whole in every part

    @property
    def is_finished(self) -> bool:
        """Whether it got its name, which it gets only once it is written everywhere."""
        return not self.folder.startswith(UNFINISHED)

    @property
    def world_size(self) -> int:
        """Return the number of ranks that saved it."""
        return sum(len(place.ranks) for place in self.places)

    def serves(self, ranks: Sequence[int], world_size: int) -> bool:
        """Whether all is here that these ranks of so many need."""
        if not self.places:  # saved before parts were told apart
            return True
        if world_size == self.world_size:
            return self.ranks.issuperset(ranks)
        return self.replicated or len(self.ranks) == self.world_size


@dataclass(frozen=True, slots=True)
class Offer:
    """The checkpoints of a run directory."""

    held: tuple[Held, ...]
    problems: tuple[tuple[int, str], ...]  # step, and why its checkpoint is not complete

    def of(self, key: Key) -> Held | None:
        """Return a checkpoint if it is held."""
        return next((held for held in self.held if held.key == key), None)


Offers = Mapping[int, Offer]  # by the main of the run directory


def write(folder: Path, key: Key, parts: Sequence[tuple[Place, Mapping[str, int]]], own: int, replicated: bool) -> None:
    """Write the COMPLETE file of a part, `own` by number, and sync the folder. parts: with the sizes of their files."""
    documents = [{"host": place.host, "ranks": place.ranks, "files": files} for place, files in parts]
    mine = documents.pop(own)
    head = {"step": key.step, "id": key.id, "replicated": replicated}
    durable.write_json(folder / COMPLETE, {**head, **mine, "elsewhere": documents})
    durable.sync_folders(folder)


def sizes(folder: Path) -> dict[str, int]:
    """Return the size of each file of a folder, by its path there."""
    return {str(file.relative_to(folder)): file.stat().st_size for file in durable.files_below(folder)}


def offer(checkpoints: Path) -> Offer:
    """Look through the folder of checkpoints of a run directory."""
    held, problems = [], []
    for folder in sorted((*checkpoints.glob("step-*"), *checkpoints.glob(f"{UNFINISHED}step-*"))):
        found = _read(folder) if folder.is_dir() else None
        if isinstance(found, Held):
            held.append(found)
        elif found is not None and not folder.name.startswith(UNFINISHED):
            problems.append((_step(folder), found))
    return Offer(tuple(held), tuple(problems))


def common(offers: Offers) -> list[Key]:
    """Return the checkpoints that are complete in all run directories, the newest first."""
    keys = [{held.key for held in offer.held} for offer in offers.values()]
    return sorted(set.intersection(*keys), reverse=True)


def choose(offers: Offers, folders: Folders) -> tuple[Key | None, list[str]]:
    """Return the newest checkpoint that is complete, and a sentence on each newer one that is passed over.

    Raises:
        Refused: if the ranks do not see what they need of it, or not all see one that once was complete.
    """
    keys = common(offers)
    newest = keys[0] if keys else None
    problems = list(_passed_over(offers, folders, -1 if newest is None else newest.step))
    if newest is None and folders.are_several:
        # It has its name, so it was complete everywhere: to begin anew would throw away what was computed.
        finished = [held.key for offer in offers.values() for held in offer.held if held.is_finished]
        newest = max(finished, default=None)
    if newest is not None:
        _require_served(newest, offers, folders)
    return newest, problems


def _require_served(key: Key, offers: Offers, folders: Folders) -> None:
    held = {main: held for main, offer in offers.items() if (held := offer.of(key)) is not None}
    world_size = len(folders.mains)
    lacking = [
        place
        for main, place in folders.by_main().items()
        if main not in held or not held[main].serves(place.ranks, world_size)
    ]
    if not lacking:
        return
    one = next(iter(held.values()))
    over = " and ".join(map(str, one.places))
    where = f"is split over {over}" if len(one.places) > 1 else f"lies on {over or 'one host'} only"
    if one.places and world_size != one.world_size:
        why = f"so it cannot go on with {world_size} rank{'s' * (world_size > 1)}"
    else:
        why = f"and {' and '.join(map(str, lacking))} cannot see what is needed of it"
    raise Refused(
        f"checkpoint {key.name} {where}, {why}.",
        hint="Resume on the same hosts in the same order, or copy its files from all of them into one run directory "
        "that all nodes see.",
    )


def _passed_over(offers: Offers, folders: Folders, newest: int) -> Iterator[str]:
    """Yield a sentence on each checkpoint after step `newest`."""
    wrong = {held.key.step for offer in offers.values() for held in offer.held if held.is_finished}
    wrong |= {step for offer in offers.values() for step, _ in offer.problems}
    for step in sorted((step for step in wrong if step > newest), reverse=True):
        reasons = list(_reasons(offers, folders, step)) or ["its parts were not saved together"]
        yield f"checkpoint {Key(step, '').name} is ignored: {', '.join(reasons)}."


def _reasons(offers: Offers, folders: Folders, step: int) -> Iterator[str]:
    for main, place in folders.by_main().items():
        here = f" on {place}" if folders.are_several else ""
        problem = dict(offers[main].problems).get(step)
        if problem is not None:
            yield f"{problem}{here}"
        elif all(held.key.step != step for held in offers[main].held):
            yield f"it is missing{here}"


def _step(folder: Path) -> int:
    digits = folder.name.removeprefix("step-")
    return int(digits) if digits.isdecimal() else -1


def _read(folder: Path) -> Held | str:
    """Return what a folder holds, or why that is not complete."""
    try:
        document = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
        parts = [document, *document.get("elsewhere", ())]
        wrong = next(_differences(folder, document["files"], parts), None)
        return _held(folder, document, parts) if wrong is None else wrong
    except FileNotFoundError:
        return "it has no COMPLETE file"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its COMPLETE file is damaged"


def _held(folder: Path, document: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> Held:
    # All parts are here where their folders were copied into one.
    here = [part for part in parts if next(_differences(folder, part["files"], parts), None) is None]
    return Held(
        key=Key(int(document["step"]), str(document.get("id", ""))),
        folder=folder.name,
        places=tuple(sorted(_places(parts), key=lambda place: place.ranks)),
        ranks=frozenset(rank for place in _places(here) for rank in place.ranks),
        replicated=bool(document.get("replicated", False)),
    )


def _places(parts: Iterable[Mapping[str, Any]]) -> list[Place]:
    return [Place(str(part["host"]), tuple(part["ranks"])) for part in parts if "ranks" in part]


def _differences(folder: Path, files: Mapping[str, int], parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for name, size in files.items():
        file = folder / name
        if not file.is_file():
            yield f"{name} is missing"
        # What each part has may differ by a few bytes.
        elif (there := file.stat().st_size) != size and all(part["files"].get(name) != there for part in parts):
            yield f"{name} has {there} bytes instead of {size}"
