"""A run of kind `sim`: it trains nothing, and speaks, heeds signals, keeps checkpoints and resumes as a trainer does.

    python -P -m engine.cluster.simulation SPEC --run-dir DIR --attempt N

For trying out a cluster, and for load tests: many such ranks share a core, so little is imported. The ranks meet
nowhere. USR1 and INT end a rank at the end of its step, with a checkpoint (exit code 130); TERM ends it at once.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cluster.node.documents import write_json, write_text
from engine.errors import ExitCode, InvalidInput, PlumblineError, RunFailed
from engine.telemetry.progress import ProgressMark

if TYPE_CHECKING:
    from engine.telemetry.writer import TelemetryWriter

CHECKPOINTS = "checkpoints"
_EXPORT = "export"

# What a metric is at a share of the run between 0 and 1, for noise between -1 and 1.
_CURVES: Mapping[str, Callable[[float, float], float]] = {
    "loss": lambda done, noise: 0.4 + 2.6 * math.exp(-4 * done) + 0.05 * noise,
    "reward": lambda done, noise: 1.5 * (1 - math.exp(-3 * done)) - 0.5 + 0.1 * noise,
    "kl": lambda done, noise: 6 * (1 - math.exp(-2 * done)) * (1 + 0.1 * noise),
    "grad_norm": lambda done, noise: math.exp(-done + 0.3 * noise),
    "lr": lambda done, noise: 1e-5 * min(1.0, 20 * done) * (1 - 0.9 * done),
    "entropy": lambda done, noise: 2.5 - 1.2 * done + 0.05 * noise,
    "policy_loss": lambda done, noise: -0.02 + 0.01 * noise,
    "value_loss": lambda done, noise: 0.3 * math.exp(-3 * done) + 0.02 * (1 + noise),
    "clip_fraction": lambda done, noise: 0.1 + 0.03 * noise,
    "response_length": lambda done, noise: 120 - 40 * done + 8 * noise,
}


@dataclass(frozen=True, slots=True)
class Rank:
    """One rank of one attempt."""

    run_dir: Path
    attempt: int
    spec: Mapping[str, Any]  # as written out whole, see `engine.spec.models.SimSpec`
    rank: int
    local_rank: int
    node: int

    @classmethod
    def of(cls, arguments: Sequence[str], environ: Mapping[str, str]) -> Rank:
        """Return what a command line and the agent's environment say. Raises InvalidInput if the spec is another's."""
        from ruamel.yaml import YAML

        spec, *options = arguments
        given = dict(zip(options[::2], options[1::2], strict=True))
        document = YAML(typ="safe").load(Path(spec))
        if not isinstance(document, dict) or document.get("kind") != "sim":
            raise InvalidInput("is no spec of a simulated run.", where=spec)
        return cls(
            Path(given["--run-dir"]),
            int(given["--attempt"]),
            document,
            int(environ.get("RANK", "0")),
            int(environ.get("LOCAL_RANK", "0")),
            int(environ.get("CROSS_RANK", "0")),
        )

    def resumed_step(self) -> int:
        """Return the step of the checkpoint to go on from, 0 without one."""
        # Rank 0 must leave no step out: what counts for it is the checkpoint that stands behind its own facts.
        pattern = "node-0.json" if self.rank == 0 else "node-*.json"
        found = [json.loads(file.read_text("utf-8"))["step"] for file in (self.run_dir / CHECKPOINTS).glob(pattern)]
        return max(found, default=0)

    def keep(self, step: int) -> Path:
        """Write the checkpoint of this rank's node. Raises OSError; the one before stays then."""
        file = self.run_dir / CHECKPOINTS / f"node-{self.node}.json"
        if self.local_rank == 0:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, {"step": step})
            descriptor = os.open(file.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return file


class StopWish:
    """Hears the signals that ask a rank to stop at the end of its step."""

    def __init__(self) -> None:
        self.signal: str | None = None  # the one that came
        for number in (signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, self._hear)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _hear(self, number: int, _frame: object) -> None:
        self.signal = signal.Signals(number).name


class Simulation:
    """The steps of a rank. Rank 0 tells of them: to the run's fact files, and in words."""

    def __init__(self, rank: Rank, mark: ProgressMark, writer: TelemetryWriter | None, stop: StopWish) -> None:
        self._rank, self._mark, self._writer, self._stop = rank, mark, writer, stop
        self._steps, self._seconds = int(rank.spec["steps"]), float(rank.spec["step_seconds"])
        self._every = int(rank.spec["checkpoint_every"])
        self._speaks = rank.rank == 0 or bool(rank.spec["every_rank"])

    def run(self) -> int:
        """Take all steps that are left and return the exit code. Raises RunFailed where spec or disk says so."""
        first = self._rank.resumed_step() + 1
        if self._writer is not None:
            self._writer.start(first - 1, self._steps)
            began = f"Resumed from step {first - 1}" if first > 1 else "Started"
            self._event("resumed" if first > 1 else "started", f"{began}: {self._steps} steps.", first - 1)
        due = time.monotonic()
        for step in range(first, self._steps + 1):
            self._mark.mark(step, "simulate")
            if (step, self._rank.rank) == (self._rank.spec["fail_step"], self._rank.spec["fail_rank"]):
                raise RunFailed(f"rank {self._rank.rank} was told to fail at step {step}.")
            # Not from the last step on: a busy machine must not slow the rate down. But no burst after a long sleep.
            due = max(due, time.monotonic() - self._seconds) + self._seconds
            time.sleep(max(0.0, due - time.monotonic()))
            self._tell(step)
            stopping = self._stop.signal is not None
            if stopping or step == self._steps or (self._every and step % self._every == 0):
                self._checkpoint(step, needed=stopping)
            if stopping and step < self._steps:
                self._event("stopped", f"Stopped at step {step} by {self._stop.signal}.", step)
                return ExitCode.INTERRUPTED
        self._finish()
        return ExitCode.DONE

    def _tell(self, step: int) -> None:
        values = metrics(self._rank.spec["seed"], step, self._steps, self._rank.spec["metrics"])
        if self._writer is not None:
            self._writer.metrics(step, values)
        if self._speaks:
            name, value = next(iter(values.items()))
            self._say(f"step {step}/{self._steps}  {name} {value:.4g}")

    def _checkpoint(self, step: int, *, needed: bool) -> None:
        """Keep a checkpoint if that is possible; raise RunFailed if it is not and needed."""
        self._mark.mark(step, "checkpoint")
        # What a resumed attempt will not tell again must be in the files before the checkpoint is.
        if self._writer is not None and not self._writer.flush():
            problem = "the facts before it cannot be written"
        else:
            try:
                file = self._rank.keep(step).relative_to(self._rank.run_dir)
            except OSError as error:
                problem = str(error.strerror)
            else:
                self._event("checkpoint", f"Saved {file}.", step, path=str(file))
                return
        if needed:
            raise RunFailed(f"the checkpoint of step {step} cannot be kept: {problem}.")
        self._say(f"warning: the checkpoint of step {step} cannot be kept: {problem}.")

    def _finish(self) -> None:
        if self._writer is None:
            return
        self._mark.mark(self._steps, "export")
        text = json.dumps({"simulated": True, "steps": self._steps}) + "\n"
        try:
            write_text(self._rank.run_dir / _EXPORT / "config.json", text)
        except OSError as error:
            raise RunFailed(f"the export cannot be written: {error.strerror}.") from error
        digest = hashlib.sha256(text.encode()).hexdigest()
        self._event("artifact", f"Exported to {_EXPORT}.", self._steps, kind="model", path=_EXPORT, sha256=digest)
        self._event("finished", f"Finished: {self._steps} steps.", self._steps)
        if not self._writer.flush():
            raise RunFailed("the last facts of the run cannot be written.")

    def _event(self, event: str, message: str, step: int, **data: Any) -> None:
        if self._writer is not None:
            from engine.telemetry.records import Level

            self._writer.event(event, message, Level.INFO, step, **data)
            self._say(message)

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def metrics(seed: int, step: int, steps: int, count: int) -> dict[str, float]:
    """Return what a step measures, the same at every call: `count` metrics, of which the first have curves of runs."""
    done = step / steps
    names = [*_CURVES, *(f"simulated/{number}" for number in range(1, count - len(_CURVES) + 1))][:count]
    found = {}
    for index, name in enumerate(names):
        noise = _noise(seed, step, index)
        curve = _CURVES.get(name)
        found[name] = curve(done, noise) if curve is not None else math.sin(done * (index + 1)) + 0.1 * noise
    return found


def _noise(*parts: int) -> float:
    """Return a number between -1 and 1 that looks random (the finaliser of SplitMix64, Steele et al. 2014)."""
    state = 0
    for part in parts:
        state = (state + part + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state / 2**63 - 1


def main(arguments: Sequence[str]) -> int:
    """Run this rank and return its exit code."""
    stop = StopWish()
    writer: TelemetryWriter | None = None
    try:
        rank = Rank.of(arguments, os.environ)
        if rank.rank == 0:
            from engine.telemetry.writer import TelemetryWriter

            writer = TelemetryWriter(rank.run_dir, rank.attempt)
        return Simulation(rank, ProgressMark.of_environment(), writer, stop).run()
    except PlumblineError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return int(error.exit_code)
    finally:
        if writer is not None:
            writer.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
