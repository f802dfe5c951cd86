"""Hostfiles: DeepSpeed's own syntax, and what DeepSpeed has no word for in comment lines that it ignores."""

from __future__ import annotations

import difflib
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import InvalidInput

LOCALHOST = "localhost"
DEFAULT_WORKDIR = "~/plumbline"
MAX_SLOTS = 4096

KEYS = ("workdir", "python", "shared", "ssh_config", "interface", "address")
_PATHS = ("workdir", "python", "ssh_config")
_TRUTH = {"yes": True, "true": True, "no": False, "false": False}

_ENTRY = re.compile(r"^(\S+)\s+slots=([0-9]+)(?=\s|$)(.*)")
_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9._:-]{0,252}")
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@,^=-]{0,62}")
_SETTINGS = re.compile(r"#\s*plumbline\s*(?:\[\s*([^\[\]]*?)\s*\])?\s*:(.*)", re.DOTALL)
_ALMOST_SETTINGS = re.compile(rf"#\s*(\w+)\s*(?:[:\[]|.*\b(?:{'|'.join(KEYS)})\s*=)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of a hostfile. Paths are of that machine, but for `ssh_config`."""

    host: str
    slots: int  # ranks it can run at a time: GPUs, or CPU workers
    workdir: str | None = DEFAULT_WORKDIR  # where run directories are made; null on localhost: beside the database
    python: str = field(default_factory=lambda: sys.executable)
    shared: bool = False  # whether `workdir` is one file system with that of the other nodes
    address: str | None = None  # by which the other nodes reach it; null: by the host name that SSH connects to
    interface: str | None = None  # of the network between the nodes; null: their libraries choose
    ssh_config: str | None = None  # file of this machine; null: $PLUMBLINE_SSH_CONFIG, else ~/.ssh/config

    @property
    def is_local(self) -> bool:
        """Whether it is this machine, reached without SSH."""
        return self.host == LOCALHOST


@dataclass(frozen=True, slots=True)
class Hostfile:
    """The nodes in their order, which is that of the ranks, and the text that says so."""

    nodes: tuple[Node, ...]
    text: str
    path: Path | None = None  # null: not from a file


@dataclass(frozen=True, slots=True)
class _Setting:
    value: str
    where: str


def local_hostfile() -> Hostfile:
    """Return this machine alone, with one slot."""
    return parse_hostfile(f"{LOCALHOST} slots=1\n", LOCALHOST)


def load_hostfile(path: Path) -> Hostfile:
    """Read a hostfile.

    Raises:
        InvalidInput: if it cannot be read, or a line is wrong; `where` is FILE:LINE.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInput("there is no such hostfile.", where=str(path)) from None
    except UnicodeDecodeError:
        raise InvalidInput("is no hostfile: it is not UTF-8 text.", where=str(path)) from None
    except OSError as error:
        raise InvalidInput(f"the hostfile cannot be read: {error.strerror}.", where=str(path)) from error
    hostfile = parse_hostfile(text, path)
    return Hostfile(hostfile.nodes, text, path.absolute())


def parse_hostfile(text: str, source: str | Path) -> Hostfile:
    """Return the nodes that a hostfile's text names.

    What is accepted, DeepSpeed's launcher reads alike: same hosts, same slots, same order.

    Args:
        text: `HOST slots=N` lines, comments, `# plumbline: KEY=VALUE …` and `# plumbline[HOST]: KEY=VALUE …` lines.
        source: what error messages call it.

    Raises:
        InvalidInput: if a line is wrong; `where` is SOURCE:LINE.
    """
    slots: dict[str, int] = {}
    lines: dict[str, str] = {}
    settings: dict[str | None, dict[str, _Setting]] = {None: {}}
    for number, raw in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        where, line = f"{source}:{number}", raw.strip()
        if not line:
            continue
        if line.startswith("#"):
            scope, found = _settings(line, where)
            known = settings.setdefault(scope, {}) if found else {}
            for key, value in found:
                if key in known:
                    raise InvalidInput(f"{key} is set twice, here and at {known[key].where}.", where=where)
                known[key] = _Setting(value, where)
            continue
        host, count = _entry(line, where)
        if host in slots:
            raise InvalidInput(f"{host} stands twice, here and at {lines[host]}.", where=where)
        slots[host], lines[host] = count, where
    if not slots:
        raise InvalidInput("names no node.", hint="A line is: worker-1 slots=8", where=str(source))
    _check_scopes(settings, slots)
    nodes = tuple(_node(host, count, settings[None], settings.get(host, {})) for host, count in slots.items())
    if len(nodes) > 1 and LOCALHOST in slots and not any(node.is_local and node.address for node in nodes):
        raise InvalidInput(
            "localhost stands beside other nodes, which cannot reach it by that name.",
            hint=f"Add a line: # plumbline[{LOCALHOST}]: address=ADDRESS, or name this machine as SSH does.",
            where=lines[LOCALHOST],
        )
    return Hostfile(nodes, text)


def _entry(line: str, where: str) -> tuple[str, int]:
    match = _ENTRY.match(line)
    if match is None:
        raise InvalidInput(f"is no line of a hostfile: {line[:80]!r}.", hint="A line is: worker-1 slots=8", where=where)
    host, digits, rest = match.groups()
    if rest.strip() and not rest.strip().startswith("#"):
        raise InvalidInput(
            f"DeepSpeed ignores what follows slots={digits}: {rest.strip()[:80]!r}.",
            hint=f"Settings go into a line of their own: # plumbline[{host}]: KEY=VALUE",
            where=where,
        )
    check_host(host, where)
    if not 1 <= (count := int(digits[:9])) <= MAX_SLOTS:
        raise InvalidInput(f"slots={digits[:9]} of {host} is not between 1 and {MAX_SLOTS}.", where=where)
    return host, count


def check_host(host: str, where: str) -> None:
    """Raise InvalidInput unless it is a host name, an alias of the SSH configuration, or an address."""
    if "@" in host:
        raise InvalidInput(
            f"{host[:80]!r} names a user.", hint="The user stands in ~/.ssh/config: Host …, User …", where=where
        )
    if not _HOST.fullmatch(host):
        raise InvalidInput(
            f"{host[:80]!r} is no host name.",
            hint="It may have letters, digits, dots, dashes and underscores, and begins with none of the dashes.",
            where=where,
        )


def _settings(line: str, where: str) -> tuple[str | None, list[tuple[str, str]]]:
    """Return whose settings a comment line holds, and which; none for any other comment."""
    match = _SETTINGS.fullmatch(line)
    if match is None:
        almost = _ALMOST_SETTINGS.match(line)
        if almost and difflib.get_close_matches(almost[1].lower(), ["plumbline"], cutoff=0.8):
            raise InvalidInput(
                f"looks like settings, but is not: {line[:80]!r}.",
                hint="Such a line is: # plumbline: KEY=VALUE …, or # plumbline[HOST]: KEY=VALUE …",
                where=where,
            )
        return None, []
    return match[1], list(_pairs(match[2], where))


def _pairs(text: str, where: str) -> Iterator[tuple[str, str]]:
    try:
        words = shlex.split(text)
    except ValueError:
        raise InvalidInput("a quotation mark is not closed.", where=where) from None
    if not words:
        raise InvalidInput("sets nothing.", hint=f"The keys are: {', '.join(KEYS)}.", where=where)
    for word in words:
        key, equals, value = word.partition("=")
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"The keys are: {', '.join(KEYS)}."
            raise InvalidInput(f"there is no setting {key[:80]!r}.", hint=hint, where=where)
        if not equals or not value:
            raise InvalidInput(f"{key} has no value.", hint=f"Write {key}=VALUE, without spaces.", where=where)
        _check_value(key, value, where)
        yield key, value


def _check_value(key: str, value: str, where: str) -> None:
    if not value.isprintable():
        raise InvalidInput(f"{key} has characters that cannot be printed: {value[:80]!r}.", where=where)
    if key in _PATHS and not value.startswith(("/", "~/")):
        raise InvalidInput(f"{key}={value} is not absolute.", hint="Begin it with / or ~/.", where=where)
    if key == "shared" and value not in _TRUTH:
        raise InvalidInput(f"shared={value} is neither yes nor no.", where=where)
    if key == "interface" and not _INTERFACE.fullmatch(value):
        raise InvalidInput(f"{value[:80]!r} is no name of a network interface.", where=where)
    if key == "address":
        check_host(value, where)


def _check_scopes(settings: dict[str | None, dict[str, _Setting]], slots: dict[str, int]) -> None:
    for host, found in settings.items():
        if host is None:
            continue
        where = next(iter(found.values())).where
        if host not in slots:
            near = difflib.get_close_matches(host, slots, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"The nodes are: {', '.join(slots)}."
            raise InvalidInput(f"there is no node {host[:80]!r} in this hostfile.", hint=hint, where=where)
        if host == LOCALHOST and "python" in found:
            raise InvalidInput(
                f"localhost runs the Python that runs Plumbline ({sys.executable}).",
                hint="Leave python= away, or name this machine as SSH does.",
                where=found["python"].where,
            )


def _node(host: str, slots: int, for_all: dict[str, _Setting], own: dict[str, _Setting]) -> Node:
    merged = {key: setting.value for key, setting in {**for_all, **own}.items()}
    local = host == LOCALHOST
    return Node(
        host,
        slots,
        workdir=merged.get("workdir", None if local else DEFAULT_WORKDIR),
        python=sys.executable if local else merged.get("python", sys.executable),
        shared=_TRUTH[merged.get("shared", "no")],
        address=merged.get("address"),
        interface=merged.get("interface"),
        ssh_config=merged.get("ssh_config"),
    )
