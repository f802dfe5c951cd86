"""Which charts a run shows, and what stands in each."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.telemetry.axis import Scale
from engine.telemetry.charts import panels
from engine.telemetry.metrics import METRICS
from tui.canvas.charset import UNICODE
from tui.canvas.plot import draw
from tui.run.curves import Curve, Curves, XMode
from tui.run.panels import plot
from tui.run.view import SMOOTHING_STEPS, View


def curves(**values: list[float]) -> Curves:
    """Series from step 1 on, a second a step."""
    return Curves(
        {
            name: Curve.of([1] * len(some), list(range(1, len(some) + 1)), [float(at) for at in range(len(some))], some)
            for name, some in values.items()
        }
    )


@given(st.sampled_from(["sft", "rm", "ppo", "rag", "eval"]), st.sets(st.one_of(st.sampled_from([*METRICS]), st.text())))
def test_every_series_stands_in_exactly_one_chart(kind: str, names: set[str]) -> None:
    shown = list(itertools.chain.from_iterable(panels(kind, names)))
    assert sorted(shown) == sorted(names)


@pytest.mark.parametrize(
    ("kind", "names", "first"),
    [
        ("sft", ["lr", "eval_loss", "loss", "grad_norm"], [("loss", "eval_loss"), ("lr",), ("grad_norm",)]),
        ("rm", ["accuracy", "loss", "margin"], [("loss",), ("accuracy",), ("margin",)]),
        ("ppo", ["entropy", "kl", "score", "loss", "eval_score"], [("score", "eval_score"), ("kl",), ("entropy",)]),
        ("sft", ["zebra", "loss", "perplexity", "alpha"], [("loss",), ("alpha",), ("zebra",), ("perplexity",)]),
    ],
)
def test_what_tells_most_of_a_kind_comes_first(kind: str, names: list[str], first: list[tuple[str, ...]]) -> None:
    assert panels(kind, names)[: len(first)] == first


PPO = [
    *("score", "eval_score", "kl", "entropy", "value_loss", "response_length", "clip_fraction", "tokens_per_second"),
    *("correct", "abstained", "hallucinated", "correct/known", "abstained/known", "hallucinated/known"),
    *("hallucinated/unknown", "abstained/unknown", "correct/unknown"),
    *("reward/exact", "eval_reward/exact", "reward/truth", "clipped/truth", "odd/one"),
]


def test_groups_and_terms_stand_together_after_what_tells_most() -> None:
    found = panels("ppo", PPO)
    assert found[2] == ("hallucinated", "correct", "abstained")
    assert found[6:10] == [
        ("hallucinated/known", "correct/known", "abstained/known"),
        ("hallucinated/unknown", "correct/unknown", "abstained/unknown"),
        ("reward/exact", "eval_reward/exact"),
        ("reward/truth",),
    ]
    assert found[10:12] == [("clip_fraction",), ("tokens_per_second",)]
    assert found[12:] == [("clipped/truth",), ("odd/one",)]


def title(view: View, **values: list[float]) -> str:
    found = curves(**values)
    return "".join(text for text, _ in plot(tuple(values), found, view, Scale.LINEAR).title)


def test_the_title_tells_the_newest_value_and_under_the_crosshair_the_exact_ones() -> None:
    assert title(View(), loss=[2.0, 1.23456], eval_loss=[3.0]) == "loss 1.23 nats  ◆ eval 3"
    crossed = View(crosshair=2.0)
    assert title(crossed, loss=[2.0, 1.234567], eval_loss=[3.0]) == "loss 1.234567  ◆ eval 3 @1"
    assert title(View(), seconds_per_step=[75.0]) == "seconds_per_step 1m15"
    assert title(View(), seconds_per_step=[1.25]) == "seconds_per_step 1.25 s"
    assert title(View(), loss=[math.nan]) == "loss nan nats"
    assert title(View(), lr=[2e-6]) == "lr 2e-6"


def test_beside_the_first_series_the_others_go_by_what_tells_them_apart() -> None:
    def names(*panel: str) -> str:
        found = curves(**{name: [0.5] for name in panel})
        return "".join(text for text, _ in plot(panel, found, View(), Scale.LINEAR).title)

    assert names("hallucinated/known", "correct/known") == "hallucinated/known 0.5  ◆ correct 0.5"
    assert names("reward/exact", "eval_reward/exact") == "reward/exact 0.5  ◆ eval 0.5"
    assert names("grad_norm", "value_grad_norm") == "grad_norm 0.5  ◆ value 0.5"


def test_a_target_is_told_and_in_view_however_far_it_is() -> None:
    found = plot(("kl",), curves(kl=[0.0, 0.5]), View(), Scale.LINEAR, target=6.0)
    assert "".join(text for text, _ in found.title) == "kl 0.5 nats/sequence  ┄ target 6"
    drawn = draw(found, 60, 12, UNICODE)
    rows = ["".join(row) for row in drawn.glyphs]
    assert [index for index, row in enumerate(rows[1:]) if "┄" in row] == [0] and rows[1].strip().startswith("6┤┄")
    assert not any(
        "┄" in "".join(row) for row in draw(plot(("kl",), curves(kl=[0.0]), View(), Scale.LINEAR), 60, 12).glyphs
    )


def test_only_what_is_measured_often_is_smoothed() -> None:
    found = curves(loss=[1.0] * 200, eval_loss=[1.0] * 5, lr=[1.0] * 200)
    lines = plot(("loss", "eval_loss"), found, View(smoothing=0.9), Scale.LINEAR).lines
    assert lines[0].average is not None and lines[1].average is None
    few = curves(loss=[1.0] * 200, hallucinated=[1.0] * 5)
    assert plot(("hallucinated",), few, View(), Scale.LINEAR).lines[0].average is None
    assert plot(("lr",), found, View(smoothing=0.9), Scale.LINEAR).lines[0].average is None


def test_marks_stand_where_their_step_does_on_every_axis() -> None:
    found = curves(loss=[1.0] * 10, tokens=[100.0 * step for step in range(1, 11)])
    marks = [(4, "checkpoint"), (7, "restart")]
    places = {
        mode: [(mark.x, mark.kind) for mark in plot(("loss",), found, View(mode), Scale.LINEAR, marks=marks).marks]
        for mode in XMode
    }
    assert places[XMode.STEP] == [(4, "checkpoint"), (7, "restart")]
    assert places[XMode.TOKENS] == [(400, "checkpoint"), (700, "restart")]
    assert places[XMode.ELAPSED] == [(3, "checkpoint"), (6, "restart")]


def test_smoothing_goes_up_and_down_its_notches_and_stops_at_the_ends() -> None:
    view = View(smoothing=0.0)
    assert view.smoother(-1) == view
    for expected in SMOOTHING_STEPS[1:]:
        view = view.smoother(1)
        assert view.smoothing == expected
    assert view.smoother(1) == view
