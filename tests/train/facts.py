"""Reading back what a run left in its directory."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from torch import Tensor


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def series(run_dir: Path, name: str) -> dict[int, float]:
    """Return a metric by step, without what a later attempt superseded."""
    points: dict[int, float] = {}
    for record in _lines(run_dir / "metrics.jsonl"):
        if record["kind"] == "start":
            points = {step: value for step, value in points.items() if step <= record["resumed_step"]}
        elif name in record["metrics"]:
            assert record["step"] not in points, f"step {record['step']} was logged twice"
            points[record["step"]] = float(record["metrics"][name])
    return points


def events(run_dir: Path, *names: str) -> list[dict[str, Any]]:
    """Return the events of these names."""
    return [record for record in _lines(run_dir / "events.jsonl") if record["event"] in names]


def samples(run_dir: Path) -> list[dict[str, Any]]:
    """Return what the model wrote."""
    return _lines(run_dir / "samples.jsonl")


def weights(run_dir: Path, folder: str = "export") -> dict[str, Tensor]:
    """Return the exported weights."""
    from safetensors.torch import load_file

    return load_file(run_dir / folder / "model.safetensors")


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return the largest absolute difference between weights of the same names."""
    assert one.keys() == other.keys()
    return max(float((one[name].float() - other[name].float()).abs().max()) for name in one)


def wait_for_step(run_dir: Path, step: int) -> None:
    """Wait until a run has logged a step."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (run_dir / "metrics.jsonl").exists() and f'"step":{step},' in (run_dir / "metrics.jsonl").read_text():
            return
        time.sleep(0.002)
    raise AssertionError(f"step {step} was not reached")
