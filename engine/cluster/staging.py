"""Staging: before a run starts, every node sees the same inputs and the same code.

What all nodes see already, at the same path and with the same content, is used where it is: on this machine, or on a
file system that they share. What a node lacks is sent there, or fetched from another node, into the store below its
work directory, by its SHA-256. All of it can be broken off at any point; the next one goes on where it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.cluster.distribution import HASHING, Distribution, Far, Item, Progress, Report, Tally, all_of
from engine.cluster.hostfile import Node
from engine.cluster.node.contents import Content
from engine.cluster.objects import HASHES, Look, describe_local, look, name_of
from engine.cluster.session import NodeSession
from engine.cluster.snapshot import Snapshot
from engine.errors import PlumblineError, Refused, RunFailed, Unreachable
from engine.plan.sizes import in_words

FAN_OUT_BYTES = 64 << 20  # of an object that is worth to be fetched from node to node
SHARED_SECONDS = 5.0  # how long a network file system may take to show a new file
THIS_MACHINE = "this machine"
_MOST_CONNECTIONS = 8  # begun at once


class Cancelled(RunFailed):
    """Staging was broken off by `Staging.cancel`."""


@dataclass(frozen=True, slots=True)
class Target:
    """A node that shall see everything. `address`: by which other nodes reach it."""

    node: Node
    open: Callable[[], NodeSession]
    address: str


@dataclass(frozen=True, slots=True)
class Request:
    """What the nodes shall see: the paths of the spec, and the code.

    others: further nodes, which may have what neither the targets nor this machine have; nothing is sent to them.
    """

    paths: Sequence[str]
    code: Snapshot | None = None
    others: Sequence[Target] = ()


@dataclass(frozen=True, slots=True)
class Staged:
    """Where everything lies, by target. Paths may begin with `~/`."""

    paths_on: Sequence[Mapping[str, str]]  # what a path of the spec is there, if it is another one
    code_on: Sequence[str | None]  # for PYTHONPATH
    sent: int  # bytes from this machine
    fetched: int  # bytes from node to node

    @property
    def paths(self) -> Mapping[str, str]:
        """What paths of the spec are on all nodes. Raises Refused if they are not the same on all of them."""
        if any(paths != self.paths_on[0] for paths in self.paths_on):
            raise Refused("the nodes keep their inputs at different paths.", hint="Give them all one workdir=.")
        return self.paths_on[0]


class Staging:
    """One staging for one run."""

    def __init__(
        self,
        targets: Sequence[Target],
        request: Request,
        *,
        objects: Path,
        report: Report = lambda progress: None,
        fan_out: int = FAN_OUT_BYTES,
    ) -> None:
        """objects: the folder of the database's objects; report: is told of progress, on threads of this staging;
        fan_out: bytes from which on an object is fetched from node to node rather than sent again.
        """
        self._targets, self._request, self._objects, self._fan_out = targets, request, objects, fan_out
        self._report = report
        self._closing = threading.Lock()
        self._stopped = self._cancelled = False
        self._sessions: list[NodeSession] = []
        self.progress: Progress | None = None
        self.outcome: Staged | PlumblineError | None = None  # of what `start` began

    def start(self) -> None:
        """Begin on a thread; `outcome` tells when it is over."""
        threading.Thread(target=self._run, name="staging", daemon=True).start()

    def cancel(self) -> None:
        """Break off soon; what was sent stays."""
        self._cancelled = True
        self._stop()

    def carry_out(self) -> Staged:
        """Bring everything where it is missing, and wait for it.

        Raises:
            Refused: if a path is nowhere, is not the same everywhere, or does not fit on a disk.
            Unreachable: if a node cannot be reached, or not any more.
            RunFailed: if a node cannot do its part.
            Cancelled: after `cancel`.
        """
        pool = ThreadPoolExecutor(max(_MOST_CONNECTIONS, len(self._targets)), thread_name_prefix="staging")
        try:
            return self._carry_out(pool)
        except PlumblineError as error:
            if self._cancelled:
                raise Cancelled("staging was broken off.") from error
            raise
        finally:
            self._stop()
            pool.shutdown()

    def _run(self) -> None:
        try:
            self.outcome = self.carry_out()
        except PlumblineError as error:
            self.outcome = error
        except Exception as error:
            self.outcome = RunFailed(f"staging: {type(error).__name__}: {error}.")

    def _stop(self) -> None:
        """Close all sessions: whatever is under way ends with an error."""
        with self._closing:
            self._stopped = True
            for session in self._sessions:
                session.close()

    def _open(self, target: Target) -> Far:
        session = target.open()
        with self._closing:
            if self._stopped:
                session.close()
                raise Unreachable("the session is closed.", where=target.node.host)
            self._sessions.append(session)
        workdir = target.node.workdir or str(self._objects)
        return Far(target.node, target.address, session, workdir)

    def _tell(self, progress: Progress) -> None:
        self.progress = progress
        self._report(progress)

    def _carry_out(self, pool: ThreadPoolExecutor) -> Staged:
        far = all_of([pool.submit(self._open, target) for target in self._targets])
        code = [] if self._request.code is None else [str(self._request.code.path)]
        paths = list(dict.fromkeys([*self._request.paths, *code]))
        seen = _looks(pool, far, paths)
        here = {path: found for path in paths if (found := look(path)) is not None}
        nowhere = [path for path in paths if path not in here and not any(path in looks for looks in seen.values())]
        if nowhere and self._request.others:
            others = all_of([pool.submit(self._open, other) for other in self._request.others])
            seen |= _looks(pool, others, nowhere)
        compared = [self._compare(pool, path, far, seen, here.get(path)) for path in paths]
        lacks = [lack for lack in compared if lack is not None]
        stores = _stores(far)
        there = self._there(pool, lacks, stores) if lacks else {}
        moved = [self._bring(pool, lack, stores, there) for lack in lacks]
        named = all_of([pool.submit(self._name, each, lacks, stores) for each in far])
        code_on = [found.pop(code[0], code[0]) if code else None for found in named]
        return Staged(named, code_on, sum(each.sent for each in moved), sum(each.fetched for each in moved))

    def _compare(
        self,
        pool: ThreadPoolExecutor,
        path: str,
        far: Sequence[Far],
        seen: Mapping[Far, Mapping[str, Look]],
        here: Look | None,
    ) -> _Lack | None:
        """Return who lacks what lies at a path; None if all nodes see the same there."""
        seeing = [each for each in seen if path in seen[each]]
        lacking = [each for each in far if each not in seeing]
        if here is None and not seeing:
            hosts = " and ".join([*(each.host for each in far), THIS_MACHINE])
            raise Refused(f"needs {path}, which is not there: {hosts} lack it.")
        # Whoever has the same stamp sees the same files. Each content is read once.
        readers: dict[str, tuple[str, Far | None, int]] = {}
        if here is not None:
            readers[here.stamp] = (THIS_MACHINE, None, here.size)
        for each in seeing:
            readers.setdefault(seen[each][path].stamp, (each.host, each, seen[each][path].size))
        if not lacking and len(readers) == 1:
            return None
        tally = Tally(HASHING, name_of(path), {host: size for host, _, size in readers.values()}, self._tell)
        read = [pool.submit(self._read, path, reader, tally) for _, reader, _ in readers.values()]
        contents = list(zip([host for host, _, _ in readers.values()], all_of(read), strict=True))
        first, content = contents[0]
        for host, other in contents[1:]:
            if other.sha256 != content.sha256:
                raise Refused(
                    f"{path} is not the same everywhere: on {first} its SHA-256 is {content.sha256[:12]}…, on {host} "
                    f"{other.sha256[:12]}….",
                    hint="Copy the right one over the other, or give it another path.",
                )
        item = Item(path, name_of(path), content, here is not None)
        return _Lack(item, seeing, lacking) if lacking else None

    def _read(self, path: str, reader: Far | None, tally: Tally) -> Content:
        """Return what lies at a path of a node, or of this machine."""
        if reader is None:
            return describe_local(path, self._objects / HASHES, lambda count: tally.add(THIS_MACHINE, count))
        answer = reader.read(
            "describe",
            on_piece=lambda header, _: tally.set(reader.host, int(header["there"])),
            workdir=reader.workdir,
            path=path,
        )
        return Content.from_document(answer["content"])

    def _there(
        self, pool: ThreadPoolExecutor, lacks: Sequence[_Lack], stores: Mapping[str, Far]
    ) -> dict[tuple[str, str], str]:
        """Return where objects lie already, by host and SHA-256. Raises Refused if the others have no room."""
        wanted: dict[str, list[Item]] = {}
        for lack in lacks:
            for far in lack.stores(stores):
                wanted.setdefault(far.host, []).append(lack.item)
        keepers = [stores[host] for host in wanted]
        answers = all_of([pool.submit(_have, far, wanted[far.host]) for far in keepers])
        found = {}
        for far, answer in zip(keepers, answers, strict=True):
            missing, free = sum(answer["missing"].values()), int(answer["free"])
            if missing > free:
                raise Refused(
                    f"needs {in_words(missing)} in {answer['store']}, {in_words(free)} are free.",
                    hint="Free some space there, or name another workdir= in the hostfile.",
                    where=far.host,
                )
            found.update({(far.host, sha256): path for sha256, path in answer["paths"].items() if path is not None})
        return found

    def _bring(
        self,
        pool: ThreadPoolExecutor,
        lack: _Lack,
        stores: Mapping[str, Far],
        there: Mapping[tuple[str, str], str],
    ) -> Distribution:
        """Bring an object to all stores that lack it."""
        keepers, item = lack.stores(stores), lack.item
        places = {far.host: there.get((far.host, item.content.sha256)) for far in keepers}
        sources = [(far, path) for far in keepers if (path := places[far.host]) is not None]
        sources += [(far, item.path) for far in lack.seeing]
        wanting = [far for far in keepers if places[far.host] is None]
        moved = Distribution(item, wanting, self._tell)
        once = len(wanting) == 1 and not sources
        if item.here and (once or item.content.size < self._fan_out):
            moved.to_each(pool)
        else:
            moved.spread(pool, sources)
        return moved

    def _name(self, far: Far, lacks: Sequence[_Lack], stores: Mapping[str, Far]) -> dict[str, str]:
        """Return the paths of a node's objects, by that in the spec, after a look whether it sees them."""
        found = {}
        for lack in lacks:
            item, sha256 = lack.item, lack.item.content.sha256
            found[item.path] = f"{far.workdir}/.plumbline/objects/{sha256}/{item.name}"
            if far in lack.seeing:
                far.ask("alias", workdir=far.workdir, sha256=sha256, name=item.name, path=item.path)
                continue
            keeper = stores[far.host]
            give_up = time.monotonic() + SHARED_SECONDS
            while far is not keeper and _have(far, [item])["paths"][sha256] is None:
                if time.monotonic() > give_up:
                    raise Refused(
                        f"does not see {found[item.path]}, which {keeper.host} has.",
                        hint="Their work directory is not one file system; leave shared=yes out of the hostfile.",
                        where=far.host,
                    )
                time.sleep(0.2)
        return found


@dataclass(frozen=True, slots=True)
class _Lack:
    """Something that some nodes lack, and others have at the path itself."""

    item: Item
    seeing: Sequence[Far]
    lacking: Sequence[Far]

    def stores(self, stores: Mapping[str, Far]) -> list[Far]:
        """Return the nodes that are to keep it."""
        return list({(keeper := stores[far.host]).host: keeper for far in self.lacking}.values())


def _stores(far: Sequence[Far]) -> dict[str, Far]:
    """Return the node that keeps objects for each: itself, or the first one that shares its work directory."""
    first: dict[str, Far] = {}
    return {each.host: first.setdefault(each.workdir, each) if each.node.shared else each for each in far}


def _looks(pool: ThreadPoolExecutor, far: Sequence[Far], paths: Sequence[str]) -> dict[Far, dict[str, Look]]:
    """Return what each node sees at those paths where it sees anything."""
    surveys = all_of([pool.submit(each.read, "survey", paths=paths) for each in far])
    return {
        each: {path: Look(**found) for path, found in survey["found"].items() if found is not None}
        for each, survey in zip(far, surveys, strict=True)
    }


def _have(far: Far, items: Sequence[Item]) -> Mapping[str, Any]:
    objects = [{**item.content.document(), "name": item.name} for item in items]
    return far.ask("have", workdir=far.workdir, objects=objects)
