"""What the facts of some nodes say of whether a run can start there: findings, each with how to mend it. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from engine.cluster.hostfile import Node
from engine.errors import PlumblineError

ASPECTS = (
    *("connection", "clock", "python", "engine", "packages", "gpus", "memory", "disk", "shared", "network"),
    *("limits", "data"),
)
SESSIONS = 3  # at once on a connection, beside the first one: staging, a log that is read, a question
SKEW_WARN_SECONDS, SKEW_FAIL_SECONDS = 2.0, 30.0
PYTHON_NEEDED = (3, 11)
DISK_FAIL_BYTES, DISK_WARN_BYTES = 1 << 30, 20 << 30
INODES_NEEDED = 10_000
SHARED_MEMORY_BYTES = 1 << 30  # of each rank: buffers of NCCL and of data loaders
FOREIGN_WARN_BYTES, FOREIGN_FAIL_SHARE = 512 << 20, 0.1  # of a GPU's memory, in use by others
OPEN_FILES_FAIL, OPEN_FILES_WARN = 1024, 4096
# The least driver for each major version of CUDA (CUDA compatibility guide, minor version compatibility).
DRIVERS = {11: (450, 80, 2), 12: (525, 60, 13), 13: (580, 65, 6)}
_GB = 1e9


class Severity(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. The message goes on a sentence that the host begins."""

    host: str
    aspect: str  # of ASPECTS
    severity: Severity
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.host}: {self.message}" + (f" {self.hint}" if self.hint else "")


@dataclass(frozen=True, slots=True)
class Here:
    """What the nodes are compared with: the engine of this machine, and what it knows of the inputs."""

    engine: str  # version
    code: str | None = None  # as `engine.cluster.node.probe.code_hash`
    hostfile: str = "HOSTFILE"  # as commands name it
    hashes: Mapping[str, str | None] = field(default_factory=dict)  # SHA-256 by path; null: not on this machine


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a node; what was not asked is not judged."""

    node: Node
    probe: Mapping[str, Any] | None = None  # the answer of `engine.cluster.node.probe.probe`
    error: PlumblineError | None = None  # why it cannot be reached
    skew: float | None = None  # seconds by which its clock is ahead of this machine's
    uncertainty: float = 0.0  # of the skew, seconds: half the round trip
    sessions: int | None = None  # that the connection bore beside the first, of SESSIONS that were tried
    asked: Sequence[str] = ()  # hosts that it was to connect to
    missed: Mapping[str, str] = field(default_factory=dict)  # why it could not, by host
    sees_token: bool | None = None  # whether the work directory shows what the first node wrote
    hashes: Mapping[str, str | None] = field(default_factory=dict)  # SHA-256 by path; null: not there
    problems: Mapping[str, str] = field(default_factory=dict)  # why a path cannot be read


def examine(facts: Sequence[Facts], here: Here) -> list[Finding]:
    """Return what is wrong, failures first, then in the order of the nodes and of the aspects."""
    majority = _majority(facts)
    with_gpus = [each.node.host for each in facts if each.probe is not None and each.probe["gpus"]]
    found: list[Finding] = []
    for each in facts:
        judge = _Judge(each)
        if each.error is not None:
            judge.fail("connection", each.error.message, each.error.hint)
        else:
            judge.connection()
            if each.probe is not None:
                judge.software(each.probe, here, majority)
                judge.gpus(each.probe, with_gpus)
                judge.machine(each.probe)
                judge.room(each.probe)
            judge.data(here, facts)
        found += judge.found
    found += _network(facts)
    places = {each.node.host: place for place, each in enumerate(facts)}
    return sorted(
        found, key=lambda one: (one.severity is not Severity.FAIL, places[one.host], ASPECTS.index(one.aspect))
    )


def first_objection(facts: Sequence[Facts], here: Here, *, but: Collection[str] = ()) -> Finding | None:
    """Return what speaks most against starting a run on these nodes, or None. but: aspects that do not count."""
    failures = (each for each in examine(facts, here) if each.severity is Severity.FAIL and each.aspect not in but)
    return next(failures, None)


def states(facts: Facts, findings: Sequence[Finding]) -> dict[str, Severity | None]:
    """Return by aspect the worst that was found of a node; None where it was not looked at."""
    own = [finding for finding in findings if finding.host == facts.node.host]
    reached, probe = facts.error is None, facts.probe
    software = probe is not None and probe["python"]["problem"] is None and _is_new_enough(probe["python"])
    looked: dict[str, bool] = {
        **dict.fromkeys(("gpus", "memory", "limits"), probe is not None),
        **dict.fromkeys(("engine", "packages"), software),
        "connection": True,
        "clock": facts.skew is not None,
        "python": probe is not None,
        "disk": probe is not None and probe["workdir"] is not None,
        "shared": facts.sees_token is not None,
        "network": bool(facts.asked),
        "data": bool(facts.hashes or facts.problems),
    }
    found: dict[str, Severity | None] = {}
    for aspect in ASPECTS:
        severities = {finding.severity for finding in own if finding.aspect == aspect}
        worst = next((severity for severity in (Severity.FAIL, Severity.WARN) if severity in severities), Severity.OK)
        found[aspect] = worst if severities or (looked[aspect] and (reached or aspect == "connection")) else None
    return found


class _Judge:
    """Judges one node, and keeps what it finds."""

    def __init__(self, facts: Facts) -> None:
        self.found: list[Finding] = []
        self._facts, self._node = facts, facts.node

    def fail(self, aspect: str, message: str, hint: str | None = None) -> None:
        self.found.append(Finding(self._node.host, aspect, Severity.FAIL, message, hint))

    def warn(self, aspect: str, message: str, hint: str | None = None) -> None:
        self.found.append(Finding(self._node.host, aspect, Severity.WARN, message, hint))

    def connection(self) -> None:
        """Sessions and clock."""
        sessions, skew = self._facts.sessions, self._facts.skew
        if sessions is not None and sessions < SESSIONS:
            (self.warn if sessions else self.fail)(
                "connection",
                f"its sshd opens {sessions + 1} sessions on a connection; Plumbline uses up to {SESSIONS + 1}.",
                "Set MaxSessions 10, the default, in its sshd_config.",
            )
        if skew is None:
            return
        surely = abs(skew) - self._facts.uncertainty
        if surely > SKEW_WARN_SECONDS:
            (self.fail if surely > SKEW_FAIL_SECONDS else self.warn)(
                "clock",
                f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's.",
                "Let chrony or another NTP client run on both.",
            )

    def software(self, probe: Mapping[str, Any], here: Here, majority: Mapping[str, str]) -> None:
        """Python, engine and packages."""
        python, versions = probe["python"], probe["versions"]
        setup = f"To install them: engine cluster setup --hostfile {here.hostfile}"
        if python["problem"] is not None:
            self.fail("python", f"{python['problem']}.", f"Name another with python= in the hostfile. {setup}")
            return
        if not _is_new_enough(python):
            needed = ".".join(map(str, PYTHON_NEEDED))
            self.fail(
                "python",
                f"{python['path']} is Python {python['version']}; Plumbline needs {needed} or newer.",
                f"Name another with python= in the hostfile. {setup}",
            )
            return
        if _minor(python["version"]) != majority.get("python", _minor(python["version"])):
            self.warn("python", f"runs Python {python['version']}, most of the others {majority['python']}.")
        installed = versions.get("plumbline")
        update = f"To install this machine's: engine cluster setup --hostfile {here.hostfile}"
        if "plumbline" in versions and installed is None:
            self.fail("engine", f"{python['path']} has no plumbline.", update)
        elif installed is not None and installed != here.engine:
            age = "an old" if _numbers(installed) < _numbers(here.engine) else "another"
            self.fail("engine", f"has {age} engine, plumbline {installed}; this machine has {here.engine}.", update)
        elif probe["code"] != here.code and None not in (probe["code"], here.code):
            hint = f"Runs bring this machine's along. {update}"
            self.warn("engine", f"its plumbline {installed} has other source than this machine's.", hint)
        others = {name: version for name, version in versions.items() if name != "plumbline"}
        missing = [name for name, version in others.items() if version is None]
        if missing:
            self.fail("packages", f"{python['path']} has no {', '.join(missing)}.", setup)
        for name, version in others.items():
            if version is not None and version != majority[name]:
                hint = "All nodes of a run need the same versions."
                self.fail("packages", f"has {name} {version}, most of the others have {majority[name]}.", hint)

    def gpus(self, probe: Mapping[str, Any], with_gpus: Sequence[str]) -> None:
        """GPUs, driver, and who else uses them."""
        gpus, slots = probe["gpus"], self._node.slots
        if probe["gpu_problem"] is not None:
            self.fail(
                "gpus", f"{probe['gpu_problem']}.", "Ask who looks after the machine; the driver may need a restart."
            )
            return
        if not gpus:
            if with_gpus:
                self.fail("gpus", f"has no GPU, but {with_gpus[0]} has.", "Leave it out of the hostfile.")
            elif probe["cores"] < slots:
                self.warn("gpus", f"has {probe['cores']} cores for {slots} slots, and no GPU.", "Give it fewer slots.")
            return
        if len(gpus) < slots:
            self.fail("gpus", f"has {len(gpus)} GPUs, but {slots} slots.", f"Write slots={len(gpus)} in the hostfile.")
        if probe["versions"].get("torch") is not None:
            self._driver(probe)
        for gpu in gpus:
            if gpu["ecc_uncorrected"]:
                self.warn(
                    "gpus",
                    f"GPU {gpu['index']} has had {gpu['ecc_uncorrected']} memory errors that could not be corrected.",
                    "Reset the GPU or restart the machine; if they come again, have it replaced.",
                )
            self._foreign(gpu)

    def _driver(self, probe: Mapping[str, Any]) -> None:
        torch, cuda, driver = probe["versions"]["torch"], probe["torch_cuda"], probe["driver"]
        if cuda is None:
            self.fail("gpus", f"its torch {torch} was built without CUDA.", "Install a CUDA build of torch there.")
            return
        least = DRIVERS.get(_numbers(cuda)[0])
        if least is not None and driver is not None and _numbers(driver) < least:
            self.fail(
                "gpus",
                f"its driver {driver} is too old for torch {torch}, whose CUDA {cuda} needs "
                f"{'.'.join(map(str, least))} or newer.",
                "Update the driver, or install a build of torch for an older CUDA.",
            )

    def _foreign(self, gpu: Mapping[str, Any]) -> None:
        processes, total, used = gpu["processes"], gpu["memory_total_bytes"], gpu["memory_used_bytes"]
        if total is None or used is None:
            return
        others = [process for process in processes if not process["ours"]]
        held = sum(process["memory_bytes"] or 0 for process in others)
        users = Counter(str(process["user"]) for process in others if process["user"] is not None)
        whose = f"processes of {', '.join(users)}" if users else "processes of others"
        if not processes:
            held, whose = used, "processes that this machine does not show"
        if held > FOREIGN_WARN_BYTES:
            pids = ", ".join(str(process["pid"]) for process in others)
            hint = f"They are {pids}; see nvidia-smi there." if others else "See nvidia-smi there."
            (self.fail if held > FOREIGN_FAIL_SHARE * total else self.warn)(
                "gpus", f"GPU {gpu['index']} has {_size(held)} of {_size(total)} in use by {whose}.", hint
            )

    def machine(self, probe: Mapping[str, Any]) -> None:
        """Memory and limits."""
        shm, slots = probe["shm"], self._node.slots
        if shm is not None and probe["gpus"] and shm["total"] < slots * SHARED_MEMORY_BYTES:
            self.warn(
                "memory",
                f"/dev/shm has {_size(shm['total'])} for {slots} ranks, whose NCCL and data loaders meet there.",
                "Give a container more with --shm-size.",
            )
        if shm is not None and shm["leftovers"]:
            self.warn(
                "memory",
                f"{shm['leftovers']} files of runs that have ended hold {_size(shm['leftover_bytes'])} of its memory.",
                "To free it: rm /dev/shm/deepspeed_allreduce*",
            )
        for lock in probe["stale_locks"]:
            self.warn(
                "limits",
                f"{lock} was left by a compilation that was killed; whoever needs it waits for ever.",
                f"If nothing compiles there: rm {lock}",
            )
        files = probe["open_files"]
        if files is not None and files < OPEN_FILES_WARN:
            (self.fail if files < OPEN_FILES_FAIL else self.warn)(
                "limits",
                f"lets a process open {files} files; many ranks and data loaders need {OPEN_FILES_WARN} or more.",
                "Raise nofile in /etc/security/limits.conf there.",
            )
        if probe["interface"] is False:
            self.fail(
                "network",
                f"has no network interface {self._node.interface}.",
                "See `ip -brief address` there, and name another with interface= in the hostfile.",
            )

    def room(self, probe: Mapping[str, Any]) -> None:
        """The disk of the work directory."""
        place = probe["workdir"]
        if place is None:
            return
        if place["problem"] is not None:
            hint = "Name another with workdir= in the hostfile, or give your user the right to write there."
            self.fail("disk", f"{place['problem']}.", hint)
        elif place["free"] < DISK_WARN_BYTES:
            (self.fail if place["free"] < DISK_FAIL_BYTES else self.warn)(
                "disk",
                f"{place['path']} has {_size(place['free'])} left of {_size(place['total'])}.",
                "Free some, or name another with workdir= in the hostfile.",
            )
        elif place["inodes_free"] is not None and place["inodes_free"] < INODES_NEEDED:
            self.fail("disk", f"{place['path']} has room for {place['inodes_free']} more files.", "Remove some there.")
        if self._facts.sees_token is False:
            self.fail(
                "shared",
                f"does not see in {place['path']} what the first node wrote there, but the hostfile says shared=yes.",
                "Mount the same file system there, or write shared=no.",
            )

    def data(self, here: Here, facts: Sequence[Facts]) -> None:
        """The inputs of a run."""
        for path, problem in self._facts.problems.items():
            self.fail("data", f"{path} cannot be read: {problem}.", None)
        for path, digest in self._facts.hashes.items():
            ours = here.hashes.get(path)
            if ours is None:
                common = Counter(each.hashes[path] for each in facts if each.hashes.get(path)).most_common(1)
                if digest is None:
                    self.fail("data", f"has no {path}, and neither has this machine.", "Put it there.")
                elif digest != common[0][0]:
                    self.fail("data", f"has another {path} than most of the others.", "Copy one of them to all nodes.")
            elif digest not in (None, ours):  # what is missing is sent
                hint = "Copy the right one over the other, or give it another path."
                self.fail("data", f"has another {path} than this machine.", hint)


def _network(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Yield who does not reach whom, a node that nobody reaches or that reaches nobody once."""
    advice = "Open all TCP ports between the nodes, and see address= and interface= in the hostfile."
    asking = {each.node.host: each for each in facts if each.asked}
    unheard = {
        host
        for host in asking
        if (others := [each for each in asking.values() if host in each.asked])
        and all(host in each.missed for each in others)
    }
    for host, each in asking.items():
        if host in unheard:
            why = next(other.missed[host] for other in asking.values() if host in other.missed)
            yield Finding(host, "network", Severity.FAIL, f"no other node can connect to it: {why}.", advice)
        missed = {name: why for name, why in each.missed.items() if name not in unheard}
        heard = [name for name in each.asked if name not in unheard]
        if missed and len(missed) == len(heard) > 1:
            why = next(iter(missed.values()))
            yield Finding(host, "network", Severity.FAIL, f"cannot connect to any other node: {why}.", advice)
        elif missed:
            why = next(iter(missed.values()))
            yield Finding(host, "network", Severity.FAIL, f"cannot connect to {', '.join(missed)}: {why}.", advice)


def _majority(facts: Sequence[Facts]) -> dict[str, str]:
    """Return of Python and each package the version that most nodes have; of equals that of the earlier node."""
    counts: dict[str, Counter[str]] = {}
    for each in facts:
        if each.probe is None or each.probe["python"]["version"] is None:
            continue
        versions = {**each.probe["versions"], "python": _minor(each.probe["python"]["version"])}
        for name, version in versions.items():
            if version is not None:
                counts.setdefault(name, Counter())[version] += 1
    return {name: found.most_common(1)[0][0] for name, found in counts.items()}


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers at the beginning of a version: 2.13.0 of "2.13.0+cpu"."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else (0,)


def _is_new_enough(python: Mapping[str, Any]) -> bool:
    return _numbers(python["version"])[:2] >= PYTHON_NEEDED


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _size(amount: int) -> str:
    return f"{amount / _GB:.1f} GB"
