"""Installs the engine on the nodes of a hostfile: a virtual environment in each work directory, from one wheel."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.cluster.contacts import ANY_PYTHON, Contact, Contacts
from engine.cluster.hostfile import Node
from engine.cluster.preflight import PYTHON_NEEDED
from engine.cluster.staging import Request, Staging, Target
from engine.cluster.words import last_words
from engine.errors import PlumblineError, Refused, RunFailed

COMMAND_SECONDS = 60.0  # for a command that does next to nothing, on a slow file system
_SHOWN = ("Collecting", "Downloading", "Building", "Installing")  # of what pip says

# Arguments: none. Prints what of Plumbline is installed: version, and SHA-256 of the wheel, if pip wrote it down.
_INSTALLED = """\
import importlib.metadata as metadata, json
try:
    found = metadata.distribution("plumbline")
    source = json.loads(found.read_text("direct_url.json") or "{}").get("archive_info", {})
    digest = source.get("hashes", {}).get("sha256") or source.get("hash", "").partition("sha256=")[2]
    print(found.version, digest or "-")
except metadata.PackageNotFoundError:
    print("- -")
"""
_VERSION = "import sys; print(*sys.version_info[:2])"
_WORKS = "import engine.cli.__main__ as m, importlib.metadata as d; print(d.version('plumbline'))"
_IS_THERE = "import engine, importlib.metadata as d; print(d.version('plumbline'))"

Progress = Callable[[str, str], None]  # host, and what happens there now


@dataclass(frozen=True, slots=True)
class Wishes:
    """How the engine is to be installed. Paths are of the nodes."""

    extras: Sequence[str] = ("train",)
    python: str | None = None  # to make virtual environments with; null: the hostfile's, else python3
    dependencies: bool = True
    find_links: str | None = None
    index_url: str | None = None
    system_site_packages: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it on a node."""

    node: Node
    python: str | None = None  # for python= of the hostfile
    done: str = ""  # "installed", "updated", "unchanged", …
    seconds: float = 0.0
    error: PlumblineError | None = None


def install(
    nodes: Sequence[Node], wheel: Path, constraints: Path | None, wishes: Wishes, *, scratch: Path, progress: Progress
) -> list[Outcome]:
    """Bring the engine to all nodes at once; those that share a work directory get it once.

    Args:
        nodes: of one hostfile.
        wheel: of the engine, on this machine.
        constraints: versions of what it needs, on this machine; None: whatever pip finds.
        wishes: how.
        scratch: a folder for notes on what was sent.
        progress: hears of each step, on any thread.
    """
    remote = [node for node in nodes if not node.is_local]
    keepers = _keepers(remote)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    job = _Job(wheel, digest, constraints, wishes, scratch, progress)
    outcomes = {node.host: Outcome(node, done="runs this Python") for node in nodes if node.is_local}
    with Contacts(remote) as contacts:
        first = [contact for contact in contacts.up if keepers[contact.node.host] == contact.node.host]
        outcomes |= contacts.ask(job.carry_out, seconds=None, of=first)
        followers = [contact for contact in contacts.up if contact.node.host not in outcomes]
        outcomes |= contacts.ask(
            lambda contact: job.look(contact, outcomes.get(keepers[contact.node.host])), seconds=None, of=followers
        )
        outcomes |= {
            contact.node.host: Outcome(contact.node, error=contact.error)
            for contact in contacts.all
            if contact.error is not None
        }
    return [outcomes[node.host] for node in nodes]


def hostfile_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the lines of the hostfile that name the Python of the nodes where it was installed."""
    pythons = {outcome.node.host: outcome.python for outcome in outcomes if outcome.python is not None}
    if len(set(pythons.values())) == 1 and len(pythons) == len(outcomes):
        return [f"# plumbline: python={next(iter(pythons.values()))}"]
    return [f"# plumbline[{host}]: python={python}" for host, python in pythons.items()]


def _keepers(nodes: Sequence[Node]) -> Mapping[str, str]:
    """Return for each node the one that installs for it: itself, or the first that shares its work directory."""
    first: dict[str | None, str] = {}
    return {node.host: first.setdefault(node.workdir, node.host) if node.shared else node.host for node in nodes}


@dataclass(frozen=True, slots=True)
class _Job:
    wheel: Path
    digest: str
    constraints: Path | None
    wishes: Wishes
    scratch: Path
    progress: Progress

    def carry_out(self, contact: Contact) -> Outcome:
        """Install or update the engine on a node. Raises RunFailed, Refused, Unreachable."""
        began = time.monotonic()
        shell = _Shell(contact, self.progress)
        folder = f"{contact.node.workdir}/venv"
        python = f"{folder}/bin/python"
        if shell.quick(python, "-m", "pip", "--version") is None:
            self._make_environment(shell, folder)
        wheel, constraints = self._send(contact)
        version, digest = (shell.quick(python, "-I", "-c", _INSTALLED) or "- -").split()
        options = self._options(constraints)
        if self.wishes.dependencies:
            wanted = wheel + (f"[{','.join(self.wishes.extras)}]" if self.wishes.extras else "")
            shell.pip(python, [wanted, *options])
            if version == "-":
                digest = self.digest
        if digest != self.digest:
            # pip leaves a package alone that has the same version, whatever is in it.
            shell.pip(python, ["--no-deps", "--force-reinstall", wheel])
        works = _WORKS if self.wishes.dependencies else _IS_THERE
        shell.run(python, "-I", "-c", works, why="the engine does not start there")
        done = "installed" if version == "-" else "unchanged" if digest == self.digest else "updated"
        return Outcome(contact.node, python, done, time.monotonic() - began)

    def look(self, contact: Contact, keeper: Outcome | None) -> Outcome:
        """Look whether a node sees what another one installed in their work directory."""
        began = time.monotonic()
        if keeper is None or keeper.python is None:
            raise RunFailed("nothing was installed in the work directory that it shares.", where=contact.node.host)
        shell = _Shell(contact, self.progress)
        where = keeper.node.host
        shell.run(keeper.python, "-I", "-c", _IS_THERE, why=f"does not see what {where} installed, or cannot run it")
        return Outcome(contact.node, keeper.python, f"shared with {where}", time.monotonic() - began)

    def _make_environment(self, shell: _Shell, folder: str) -> None:
        host, named = shell.contact.node.host, self.wishes.python
        bases = [named] if named is not None else [shell.contact.node.python, ANY_PYTHON]
        needed = ".".join(map(str, PYTHON_NEEDED))
        hint = f"Install Python {needed} or newer there, and name it with --python PATH."
        answers = {base: answer for base in bases if (answer := shell.quick(base, "-c", _VERSION)) is not None}
        if not answers:
            raise Refused(f"{' and '.join(bases)} cannot be run there.", hint=hint, where=host)
        fit = [base for base, answer in answers.items() if tuple(map(int, answer.split())) >= PYTHON_NEEDED]
        if not fit:
            base, answer = next(iter(answers.items()))
            found = ".".join(answer.split())
            raise Refused(f"{base} is Python {found}; Plumbline needs {needed} or newer.", hint=hint, where=host)
        self.progress(host, f"makes {folder}")
        site = ["--system-site-packages"] if self.wishes.system_site_packages else []
        said = shell.lines(fit[0], "-m", "venv", "--clear", *site, folder)
        if said.code != 0:
            if any("ensurepip is not" in line for line in said.lines):
                raise Refused(
                    f"{fit[0]} cannot make virtual environments there: it lacks ensurepip.",
                    hint="Install it: sudo apt-get install python3-venv",
                    where=host,
                )
            raise RunFailed(f"{folder} cannot be made: {last_words(said.lines)}.", where=host)

    def _send(self, contact: Contact) -> tuple[str, str | None]:
        """Send the wheel and the constraints; return where they lie there."""
        host = contact.node.host
        paths = [str(path) for path in (self.wheel, self.constraints) if path is not None]
        target = Target(contact.node, contact.another_session, contact.session.address)
        staging = Staging(
            [target],
            Request(paths),
            objects=self.scratch / host,
            report=lambda progress: self.progress(host, progress.sentence()),
        )
        [there] = staging.carry_out().paths_on
        constraints = None if self.constraints is None else str(self.constraints)
        wheel = str(self.wheel)
        return there.get(wheel, wheel), None if constraints is None else there.get(constraints, constraints)

    def _options(self, constraints: str | None) -> list[str]:
        found = ["-c", constraints] if constraints is not None else []
        if self.wishes.find_links is not None:
            found += ["--find-links", self.wishes.find_links]
        if self.wishes.index_url is not None:
            found += ["--index-url", self.wishes.index_url]
        return found


@dataclass(frozen=True, slots=True)
class _Said:
    code: int | None
    lines: Sequence[str]


class _Shell:
    """Commands on one node."""

    def __init__(self, contact: Contact, progress: Progress) -> None:
        self.contact, self._progress = contact, progress

    def lines(self, *argv: str, limit: float | None = None) -> _Said:
        """Run a command to its end; return its code and what it said. Raises RunFailed if there is none such."""
        said: list[str] = []
        host = self.contact.node.host

        def hear(header: Mapping[str, object], _: bytes) -> None:
            line = str(header["line"])
            said.append(line)
            if line.strip().startswith(_SHOWN):
                self._progress(host, line.strip())

        answer = self.contact.session.ask(
            "run",
            seconds=None,
            on_piece=hear,
            argv=list(argv),
            env={"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PYTHONUNBUFFERED": "1"},
            limit=limit,
        )
        return _Said(answer["code"], said)

    def quick(self, *argv: str) -> str | None:
        """Return what a command prints, or None if it cannot be run or fails."""
        try:
            said = self.lines(*argv, limit=COMMAND_SECONDS)
        except RunFailed:
            return None
        return "\n".join(said.lines) if said.code == 0 else None

    def run(self, *argv: str, why: str) -> None:
        """Run a command that must succeed. Raises RunFailed with its last words."""
        said = self.lines(*argv, limit=COMMAND_SECONDS)
        if said.code != 0:
            raise RunFailed(f"{why}: {last_words(said.lines)}.", where=self.contact.node.host)

    def pip(self, python: str, arguments: Sequence[str]) -> None:
        """Run pip install. Raises RunFailed with its last words."""
        said = self.lines(python, "-m", "pip", "install", *arguments)
        if said.code != 0:
            raise RunFailed(f"pip failed: {last_words(said.lines)}.", where=self.contact.node.host)
