"""A trainer that trains nothing: it writes facts, heeds signals, keeps a checkpoint and exports as the real one does.

    worker.py … train SPEC --run-dir DIR --attempt N

The spec's note says what happens: `pause=0.01` seconds a step, `fail=STEP:RANK` a rank that fails.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

from engine.telemetry.records import Level
from engine.telemetry.writer import TelemetryWriter


def main(arguments: list[str]) -> int:
    spec = Path(arguments[arguments.index("train") + 1]).read_text()
    run_dir = Path(arguments[arguments.index("--run-dir") + 1])
    attempt = int(arguments[arguments.index("--attempt") + 1])
    steps = int(re.findall(r"^ +steps: (\d+)", spec, re.MULTILINE)[0])
    note = re.findall(r"^note: (.*)", spec, re.MULTILINE)[0]
    wanted = dict(pair.split("=") for pair in re.findall(r"\w+=[\d.:]+", note))
    fail_step, _, fail_rank = wanted.get("fail", "0:-1").partition(":")
    rank = int(os.environ["RANK"])

    stop: list[int] = []
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, lambda number, _: stop.append(number))
    checkpoint = run_dir / "checkpoint.json"
    done = json.loads(checkpoint.read_text())["step"] if checkpoint.exists() else 0
    writer = TelemetryWriter(run_dir, attempt) if rank == 0 else None
    if writer:
        writer.start(done, steps)
    for step in range(done + 1, steps + 1):
        if (step, rank) == (int(fail_step), int(fail_rank)):
            print("error: the worker was told to fail.", flush=True)
            return 1
        time.sleep(float(wanted.get("pause", 0)))
        if writer:
            writer.metrics(step, {"loss": 1 / step})
        print("step", step, "of rank", rank, flush=True)
        if stop:
            if writer:
                writer.flush()
                checkpoint.write_text(json.dumps({"step": step}))
                writer.event("checkpoint", f"Saved at step {step}.", Level.INFO, step)
                writer.close()
            return 130
    if writer:
        (run_dir / "export").mkdir(exist_ok=True)
        (run_dir / "export/config.json").write_text("{}\n")
        writer.event("artifact", "Exported.", Level.INFO, steps, kind="model", path="export", sha256="ab" * 32)
        writer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
