"""Ranks in a fraction of a second: a process that has imported what a kind of job needs once, and forks.

Run as a program it reads one JSON command a line and answers with one JSON line each:
    {"start": [{"rank": R, "run_dir": DIR, "log": FILE, "dies": N}, …], "spec": FILE, "world": W, "peak": P} →
        [pids]; a rank that `dies` is killed before the Nth time that it syncs, renames or removes files; P operations a
        second, if it is not null, are taken for what a device computes at most
    {"wait": [pids], "seconds": S} → [exit codes], negative for signals; what is left after S seconds is killed
It never starts a thread, so that its forks are whole.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

WAIT_SECONDS = 120.0
# Also what libraries import only when they are used: each rank would take its second for that.
_LIBRARIES = (
    "peft",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
    "engine.job.main",
    "engine.spec.loading",
)
IMPORTED = {
    "train": (
        *_LIBRARIES,
        "deepspeed.comm.mori",
        "deepspeed.module_inject.auto_ep_layer",
        "deepspeed.ops.op_builder.all_ops",
        "deepspeed.runtime.zero.muon.muon_optimizer",
        "setuptools",
        "distutils.ccompiler",
        "distutils.sysconfig",
        "torch.profiler._cupti_monitor",
        "torch.utils.serialization.config",
        "engine.train.main",
        "engine.train.ppo.loop",
        "engine.train.rm",
        "engine.train.sft",
    ),
    "rag build": (
        *_LIBRARIES,
        "faiss",
        "sentence_transformers",
        "transformers.models.bert.modeling_bert",
        "engine.cli.rag_build",
        "engine.evaluate.retrieval",
        "engine.rag.build",
        "engine.rag.embedding.embedder",
        "engine.rag.vectors.index",
    ),
    "eval": (
        *_LIBRARIES,
        "engine.evaluate.faithfulness.entailment",
        "engine.evaluate.faithfulness.selfcheck",
        "engine.evaluate.job",
        "engine.evaluate.main",
        "engine.rag.build",
    ),
}


@dataclass(frozen=True)
class Job:
    """Ranks that were started together."""

    server: ForkServer
    pids: list[int]
    run_dir: Path

    def wait(self, *ranks: int) -> list[int]:
        """Return the exit codes of all ranks, or of these."""
        pids = [self.pids[rank] for rank in ranks] or self.pids
        codes: list[int] = self.server.ask({"wait": pids, "seconds": WAIT_SECONDS})
        return codes

    def log(self, rank: int = 0) -> str:
        """Return what a rank printed, over all attempts."""
        return (self.run_dir / f"rank-{rank}.log").read_text()


class ForkServer:
    """The client's side.

    Arguments:
        command: of `engine` for whose jobs it imports: "train", "rag build" or "eval".
    """

    def __init__(self, command: str = "train") -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "MASTER_"))}
        environ |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo"}
        environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"  # what sentence_transformers imports has one else
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "PLUMBLINE_DEBUG"):
            environ.pop(name, None)
        self._process = subprocess.Popen(
            [sys.executable, __file__, command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def ask(self, command: Mapping[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(
        self,
        spec: Path,
        run_dir: Path,
        *,
        world: int,
        ranks: Sequence[int] | None = None,
        apart: bool = False,
        dies: Mapping[int, int] | None = None,
        attempt: int | None = None,
        peak: float | None = None,
    ) -> Job:
        """Start `world` ranks, or only some of them.

        apart: gives each rank but 0 another run directory.
        dies: kills ranks at a moment when they write files, by rank.
        attempt: its number; None: what the job takes it for.
        peak: operations a second that a device is taken to compute at most; None: what its name tells.
        """
        chosen = list(range(world) if ranks is None else ranks)
        folders = [run_dir / f"apart-{rank}" if apart and rank else run_dir for rank in chosen]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        starts = [
            {
                "rank": rank,
                "run_dir": str(folder),
                "log": str(run_dir / f"rank-{rank}.log"),
                "dies": (dies or {}).get(rank),
            }
            for rank, folder in zip(chosen, folders, strict=True)
        ]
        command = {"start": starts, "spec": str(spec), "world": world, "attempt": attempt, "peak": peak}
        return Job(self, self.ask(command), run_dir)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _become_rank(start: Mapping[str, Any], command: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    from engine.telemetry.progress import FOLDER_VARIABLE

    own = {"RANK": str(start["rank"]), "LOCAL_RANK": str(start["rank"]), FOLDER_VARIABLE: start["run_dir"]}
    os.environ.update(environ, **own)
    log = os.open(start["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if start["dies"] is not None:
        _kill_when_it_writes(start["dies"])
    if command["peak"] is not None:
        from engine.train import utilisation

        utilisation.device_peak = lambda device, precision: command["peak"]
    _run(Path(command["spec"]), Path(start["run_dir"]), command["attempt"])


def _run(spec: Path, run_dir: Path, attempt: int | None) -> None:
    from engine.spec.loading import load_spec

    kind = load_spec(spec).kind
    if kind == "rag":
        from engine.cli.rag_build import build_index

        build_index(spec, run_dir, attempt)
    elif kind == "eval":
        from engine.evaluate.main import evaluate

        evaluate(spec, run_dir, attempt)
    else:
        from engine.train.main import train

        train(spec, run_dir, attempt)


def _kill_when_it_writes(count: int) -> None:
    from engine.job import durable

    effects = itertools.count(1)

    def wrapped(function: Callable[..., None]) -> Callable[..., None]:
        def counted(*arguments: Any) -> None:
            if next(effects) == count:
                os.kill(os.getpid(), signal.SIGKILL)
            function(*arguments)

        return counted

    for name in ("sync", "write_json", "sync_folders", "replace_folder", "remove_folder"):
        setattr(durable, name, wrapped(getattr(durable, name)))


def _start(command: Mapping[str, Any]) -> list[int]:
    environ = {"WORLD_SIZE": str(command["world"]), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    pids = []
    for start in command["start"]:
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                _become_rank(start, command, environ)
            except BaseException as error:
                print(f"error: {error}", file=sys.stderr, flush=True)
                code = int(getattr(error, "exit_code", code))
            finally:
                os._exit(code)
        pids.append(pid)
    return pids


def _wait(pids: list[int], seconds: float) -> list[int]:
    deadline = time.monotonic() + seconds
    codes: dict[int, int] = {}
    while len(codes) < len(pids):
        for pid in pids:
            if pid not in codes and (ended := os.waitpid(pid, os.WNOHANG))[0]:
                codes[pid] = os.waitstatus_to_exitcode(ended[1])
            elif pid not in codes and time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    return [codes[pid] for pid in pids]


def _serve() -> None:
    for name in IMPORTED[sys.argv[1]]:
        importlib.import_module(name)
    threads = list(Path("/proc/self/task").iterdir())
    assert len(threads) == 1, "a thread is not in a fork, and what it had locked stays locked"

    import torch

    torch.set_num_threads(1)
    alive: set[int] = set()
    for line in sys.stdin:
        command = json.loads(line)
        if "start" in command:
            answer = _start(command)
            alive |= set(answer)
        else:
            answer = _wait(command["wait"], command["seconds"])
            alive -= set(command["wait"])
        print(json.dumps(answer), flush=True)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    from engine.job import environment

    environment.prepare(os.environ)
    if sys.argv[1] == "rag build":
        from engine.rag.embedding import environment as embedding

        embedding.prepare()
    for variable in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        del os.environ[variable]
    _serve()
