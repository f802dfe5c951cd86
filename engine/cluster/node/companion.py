"""The dispatcher's companion on a node: lays runs ready, starts and signals their agents, sends what they write.

It lives as long as one connection. It is sent over that connection, leaves nothing behind, and holds no state that
matters: whatever it knows, it reads from the run directories. Requests come as one JSON object a line on stdin, answers
go as one a line on stdout; one with a `size` is followed by so many bytes.

    {"beat": t}                                        every second, so that silence means a dead link
    {"reply": id, …}                                   the answer to a request; with "more", others follow
    {"run": key, "phase": p, "exit": {…}|null}         where the agent stands: absent, alive, exited, gone
    {"run": key, "file": f, "offset": n, "size": n, "restarted": bool}   a piece of a file, and its bytes
    {"run": key, "drained": true, "turn": n}           the run has ended here, and all that it wrote was sent
    {"node": {…}}                                      the standing of this node (`sampling`), once it is watched
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from engine.cluster.node import (
    digests,
    exchange,
    launching,
    leases,
    probe,
    running,
    searching,
    slurm,
    staging,
    sweeping,
    wire,
)
from engine.cluster.node.archive import Sources
from engine.cluster.node.following import Following
from engine.cluster.node.launching import expand, node_folder
from engine.cluster.node.sampling import Sampling

POLL_SECONDS = 0.05
BEAT_SECONDS = 1.0
_READ_BYTES = 256 * 1024

Operation = Callable[..., "Mapping[str, Any] | None"]

# What takes a while: each runs in a thread, and must do no harm when it is asked for twice. It is called as
# operation(tell, **arguments), where tell(header, data=b"") sends an answer on the way to the last one, its result.
OPERATIONS: dict[str, Operation] = {
    "stage": launching.stage,
    "start": launching.start,
    "sweep": sweeping.sweep,
    "slurm_submit": slurm.submit,
    "slurm_stop": slurm.stop,
    "leases": leases.leases,
    "clock": probe.clock,
    "vitals": probe.vitals,
    "probe": probe.probe,
    "leave_token": probe.leave_token,
    "find_token": probe.find_token,
    "remove_token": probe.remove_token,
    "hashes": digests.hashes,
    "listen": wire.listen,
    "reach": wire.reach,
    "latency": wire.latency,
    "throughput": wire.throughput,
    "run": running.run,
    "survey": staging.survey,
    "listing": staging.listing,
    "describe": staging.describe_path,
    "have": staging.have,
    "alias": staging.alias,
    "receive": staging.receive,
    "piece": staging.piece,
    "send": staging.send,
    "hash_prefixes": staging.hash_prefixes,
    "serve": exchange.serve,
    "fetch": exchange.fetch,
    "search": searching.search,
}


class Companion:
    """Serves one dispatcher over two file descriptors until the first is closed."""

    def __init__(self, requests: int, answers: int, sources: Sources) -> None:
        self._requests, self._answers, self._sources = requests, answers, sources
        self._rest = bytearray()
        self._sending = threading.Lock()
        self._following = Following(self._send)
        self._at_once: dict[str, Operation] = {
            "follow": self._following.follow,
            "unfollow": self._following.unfollow,
            "signal": launching.pass_signal,
            "watch": Sampling(self._send).watch,
        }
        self._beat_at = 0.0

    def serve(self) -> None:
        """Serve until the dispatcher goes away."""
        self._send({"hello": 1, "pid": os.getpid(), "host": socket.gethostname()})
        while True:
            busy = self._following.send_new()
            if time.monotonic() - self._beat_at >= BEAT_SECONDS:
                self._beat_at = time.monotonic()
                self._send({"beat": time.time()})
            ready, _, _ = select.select([self._requests], [], [], 0.0 if busy else POLL_SECONDS)
            if ready and not self._read():
                return

    def _read(self) -> bool:
        data = os.read(self._requests, _READ_BYTES)
        self._rest += data
        while True:
            end = self._rest.find(b"\n")
            if end < 0:
                return bool(data)
            request = json.loads(self._rest[:end])
            size = request.pop("size", None)
            if size is not None:
                if len(self._rest) < end + 1 + size:
                    return bool(data)
                request["data"] = bytes(self._rest[end + 1 : end + 1 + size])
            del self._rest[: end + 1 + (size or 0)]
            self._obey(request)

    def _obey(self, request: dict[str, Any]) -> None:
        name, identity = request.pop("do"), request.pop("id", None)
        if name in self._at_once:
            self._answer(identity, self._at_once[name], request)
            return
        operation = OPERATIONS[name]
        if name in ("stage", "search"):
            request["sources"] = self._sources

        def tell(header: Mapping[str, Any], data: bytes = b"") -> None:
            self._send({"reply": identity, "more": True, **header, **({"size": len(data)} if data else {})}, data)

        def work() -> None:
            self._answer(identity, lambda **arguments: operation(tell, **arguments), request)
            if name == "start":
                folder = node_folder(expand(request["run_dir"]), request["attempt"], request["node"])
                self._following.tell_again(folder)

        threading.Thread(target=work, name=name, daemon=True).start()

    def _answer(self, identity: Any, operation: Operation, arguments: Mapping[str, Any]) -> None:
        try:
            answer = operation(**arguments)
        except OSError as error:
            answer = {"problem": f"{error.filename or 'the run directory'}: {error.strerror}"}
        except Exception as error:
            answer = {"problem": f"{type(error).__name__}: {error}"}
        if identity is not None:
            with contextlib.suppress(BrokenPipeError):  # the dispatcher has gone; the loop sees it, too
                self._send({"reply": identity, **(answer or {})})

    def _send(self, header: Mapping[str, Any], data: bytes = b"") -> None:
        with self._sending:
            view = memoryview(json.dumps(header).encode() + b"\n" + data)
            while view:
                view = view[os.write(self._answers, view) :]


def main(sources: Sources) -> None:
    """Serve over standard input and output. sources: of the modules that run here."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever prints by accident must not break the stream
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        Companion(0, answers, sources).serve()
