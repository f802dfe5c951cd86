"""The table of metrics: complete for what the engine logs and the terminal UI shows."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

from engine.spec.models import Kind
from engine.telemetry import charts
from engine.telemetry.metrics import HEADLINE, METRICS, unit_of


def _documents(tree: ast.AST) -> Iterator[ast.Dict]:
    """Yield the metrics that are written: of `x.metrics(…)`, of `metrics=…`, and the sums of an objective."""
    for node in ast.walk(tree):
        named: list[ast.expr | None] = []
        if isinstance(node, ast.Call):
            named += [keyword.value for keyword in node.keywords if keyword.arg == "metrics"]
            if isinstance(node.func, ast.Attribute) and node.func.attr == "metrics":
                named += node.args
        elif isinstance(node, ast.FunctionDef) and node.name == "sums":
            named += [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
        yield from (one for one in named if isinstance(one, ast.Dict))


def test_what_the_trainers_log_is_in_the_table() -> None:
    train = Path(inspect.getfile(charts)).parents[1] / "train"
    logged: set[str] = set()
    for file in sorted(train.glob("*.py")):
        for document in _documents(ast.parse(file.read_text(encoding="utf-8"))):
            logged |= {ast.literal_eval(key) for key in document.keys if key is not None}
    assert "loss" in logged and not logged - set(METRICS)


def test_what_the_charts_name_is_in_the_table() -> None:
    named = {name for shown in charts._BY_KIND.values() for panel in shown for name in panel} | set(charts._LAST)
    assert not [name for name in named if unit_of(name) is None]


def test_units_are_told_and_unknown_metrics_have_none() -> None:
    assert (unit_of("loss"), unit_of("seconds_per_step"), unit_of("tokens_per_second")) == ("nats", "s", "tokens/s")
    assert unit_of("recall@10") == unit_of("recall@k") == "1"
    assert unit_of("eval_loss/a group") == "nats" and unit_of("my_own/group") is None
    assert unit_of("recall@ten") is None and unit_of("my_own") is None
    assert all(metric.unit and metric.meaning for metric in METRICS.values())


def test_every_kind_has_a_headline() -> None:
    assert set(HEADLINE) == {kind.value for kind in Kind} and set(HEADLINE.values()) <= set(METRICS)
