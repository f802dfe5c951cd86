"""The recipes that there are: what each makes, and what its first lines say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import PlumblineError
from tui.form.launches import find_files, near

_CHECKOUT = Path(__file__).resolve().parents[2]
_FROM_NOTHING = """\
A form with every key of this kind. What has a default has it; what must be given is marked with *.
Paths are relative to the working folder. ^s saves it as a recipe."""
_LARGEST_HEAD = 20_000  # characters of the comment that a recipe begins with


@dataclass(frozen=True, slots=True)
class Recipe:
    """A file that can be launched, or, without a path, an empty spec."""

    path: Path | None
    kind: str  # of the experiment, or "pipeline"; empty: it is neither
    note: str
    head: str  # the comment that it begins with, without its signs
    problem: str = ""  # why it cannot be read

    @property
    def title(self) -> str:
        """What it is called in the list."""
        return f"empty {self.kind} spec" if self.path is None else near(self.path)


def roots() -> list[Path]:
    """Return the folders below which recipes and hostfiles are looked for."""
    return list(dict.fromkeys((Path.cwd(), _CHECKOUT)))


def find_recipes() -> list[Recipe]:
    """Return all recipes, those below the working folder first; pipelines first in each folder."""
    found = {path: read_recipe(path) for path in find_files("recipes", ".yaml", roots())}
    order = sorted(found, key=lambda path: (path.is_absolute(), str(path.parent), found[path].kind != "pipeline"))
    return [found[path] for path in order]


def empty_specs() -> list[Recipe]:
    """Return what a run can begin as from nothing: an empty spec of each kind that computes something."""
    from engine.spec.keys import keys_of
    from engine.spec.models import SPEC_TYPES, Kind

    kinds = [kind for kind in Kind if kind is not Kind.SIM]
    return [Recipe(None, kind, keys_of(SPEC_TYPES[kind])["kind"].description, _FROM_NOTHING) for kind in kinds]


def read_recipe(path: Path) -> Recipe:
    """Return what a file says of itself."""
    from engine.spec.loading import is_pipeline, read_document

    try:
        values = (document := read_document(path)).values
    except PlumblineError as error:
        return Recipe(path, "", "", "", str(error))
    kind = "pipeline" if is_pipeline(document) else str(values.get("kind") or "")
    note = values.get("note")
    text = path.read_text(encoding="utf-8-sig", errors="replace")[:_LARGEST_HEAD]
    return Recipe(path, kind, note if isinstance(note, str) else "", head_of(text))


def head_of(text: str) -> str:
    """Return the comment that a text begins with, without its signs."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)


def paragraphs(text: str) -> list[str]:
    """Return the lines of a text, those of one paragraph as one; what is set in stays as it is."""
    found: list[str] = []
    for line in text.splitlines():
        goes_on = found and found[-1].strip() and not found[-1].startswith(" ") and not line.startswith(" ")
        if goes_on and line.strip():
            found[-1] += f" {line}"
        else:
            found.append(line)
    return found


def find_hostfiles(given: Sequence[Path]) -> list[Path | None]:
    """Return the hostfiles that there are, those of the command line first; null is this machine."""
    others = [path for path in find_files("hostfiles", "", roots()) if path not in given]
    return [*given, None, *others]
