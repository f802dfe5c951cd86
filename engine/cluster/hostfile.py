"""Hostfiles: DeepSpeed's own syntax, and what DeepSpeed has no word for in comment lines that it ignores."""

from __future__ import annotations

import difflib
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.errors import InvalidInput

LOCALHOST = "localhost"
DEFAULT_WORKDIR = "~/plumbline"
MAX_SLOTS = 4096

# With launcher=slurm only.
SLURM_KEYS = ("login", "partition", "account", "qos", "time", "gres", "cpus", "options", "commands")
KEYS = ("workdir", "python", "shared", "ssh_config", "interface", "address", "launcher", *SLURM_KEYS)
_OF_ALL = ("launcher", *SLURM_KEYS)  # never of one node
_PATHS = ("workdir", "python", "ssh_config", "commands")
_TRUTH = {"yes": True, "true": True, "no": False, "false": False}

_ENTRY = re.compile(r"^(\S+)\s+slots=([0-9]+)(?=\s|$)(.*)")
_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9._:-]{0,252}")
_SLURM_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:,+=-]{0,127}")  # of a partition, an account, a resource
_SLURM_TIME = re.compile(r"[0-9]+(:[0-9]+){0,2}|[0-9]+-[0-9]+(:[0-9]+){0,2}")
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
class Slurm:
    """What Slurm is asked for beside nodes and slots; null: what the site's own defaults are."""

    login: Node  # where its commands are run; of one file system with the nodes
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: str | None = None  # limit, as sbatch reads it: minutes, H:M:S, D-H
    gres: str | None = None  # what a slot is, "gpu" or "gpu:a100"; null: CPUs
    cpus: int | None = None  # of a slot
    options: tuple[str, ...] = ()  # further ones of sbatch
    commands: str | None = None  # folder of sbatch, squeue and the others; null: they are on the PATH
    interface: str | None = None  # of the network between the nodes


@dataclass(frozen=True, slots=True)
class Hostfile:
    """The nodes in their order, which is that of the ranks, and the text that says so."""

    nodes: tuple[Node, ...]
    text: str
    path: Path | None = None  # null: not from a file
    slurm: Slurm | None = None  # then it chooses the nodes; theirs are the number and the slots


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
    return replace(hostfile, path=path.absolute())


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
    if settings[None].get("launcher", _Setting("ssh", "")).value == "slurm":
        return _slurm(slots, lines, settings, text)
    _check_no_slurm(settings[None])
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
    if key == "launcher" and value not in ("ssh", "slurm"):
        raise InvalidInput(f"launcher={value[:80]} is neither ssh nor slurm.", where=where)
    if key in ("partition", "account", "qos", "gres") and not _SLURM_NAME.fullmatch(value):
        raise InvalidInput(f"{key}={value[:80]!r} is no name that Slurm has.", where=where)
    if key == "time" and not _SLURM_TIME.fullmatch(value):
        raise InvalidInput(f"time={value[:80]} is no limit.", hint="Write minutes, H:M:S, or D-H.", where=where)
    if key == "options":
        try:
            shlex.split(value)
        except ValueError:
            raise InvalidInput("a quotation mark within options is not closed.", where=where) from None
    if key == "cpus" and not (value.isascii() and value.isdigit() and 1 <= int(value[:9]) <= MAX_SLOTS):
        raise InvalidInput(f"cpus={value[:80]} is not between 1 and {MAX_SLOTS}.", where=where)
    if key == "interface" and not _INTERFACE.fullmatch(value):
        raise InvalidInput(f"{value[:80]!r} is no name of a network interface.", where=where)
    if key in ("address", "login"):
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
        of_all = next((key for key in _OF_ALL if key in found), None)
        if of_all is not None:
            raise InvalidInput(
                f"{of_all} is of the whole cluster, not of {host}.",
                hint=f"Set it for all nodes: # plumbline: {of_all}={found[of_all].value}",
                where=found[of_all].where,
            )
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


def _check_no_slurm(for_all: dict[str, _Setting]) -> None:
    for key in SLURM_KEYS:
        if key in for_all:
            raise InvalidInput(
                f"{key} is a setting of Slurm, which this hostfile does not use.",
                hint="Add launcher=slurm, or leave it away.",
                where=for_all[key].where,
            )


def _slurm(
    slots: dict[str, int], lines: dict[str, str], settings: dict[str | None, dict[str, _Setting]], text: str
) -> Hostfile:
    for_all = settings[None]
    first, *others = slots
    for host in others:
        if slots[host] != slots[first]:
            raise InvalidInput(
                f"{host} has other slots than {first}; Slurm chooses the nodes, so all have the same.",
                where=lines[host],
            )
    for scope, found in settings.items():
        if scope is not None:
            raise InvalidInput(
                f"{scope} has settings of its own, but Slurm chooses the nodes.",
                hint="Set them for all nodes: # plumbline: KEY=VALUE",
                where=next(iter(found.values())).where,
            )
    if "address" in for_all:
        raise InvalidInput(
            "address is of one node, but Slurm chooses the nodes.",
            hint="Name the network between them with interface=.",
            where=for_all["address"].where,
        )
    if "shared" in for_all and not _TRUTH[for_all["shared"].value]:
        raise InvalidInput(
            "shared=no, but Slurm's nodes and its login node must share the work directory.",
            hint="Name one that they share with workdir=, and leave shared= away.",
            where=for_all["shared"].where,
        )
    value = {key: setting.value for key, setting in for_all.items()}
    nodes = tuple(replace(_node(host, count, for_all, {}), shared=True) for host, count in slots.items())
    login = replace(nodes[0], host=value.get("login", LOCALHOST), slots=1, address=None, interface=None)
    slurm = Slurm(
        login,
        partition=value.get("partition"),
        account=value.get("account"),
        qos=value.get("qos"),
        time=value.get("time"),
        gres=value.get("gres"),
        cpus=int(value["cpus"]) if "cpus" in value else None,
        options=tuple(shlex.split(value.get("options", ""))),
        commands=value.get("commands"),
        interface=nodes[0].interface,
    )
    return Hostfile(nodes, text, slurm=slurm)
