"""A scorer's threshold is the one that tells labelled claims apart best, and the labels are read or named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.evaluate.faithfulness.calibration import Labelled, calibrate, read_labelled
from engine.evaluate.faithfulness.scorer import Pair
from engine.evaluate.faithfulness.words import Exact, Lexical
from tests.conftest import SHARED


@dataclass(frozen=True)
class Given:
    """A scorer that reads the score off the claim."""

    name: str = "given"
    version: str = "3"
    sha256: str | None = "abc"
    threshold: float = 0.5

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        return [float(pair.claim) for pair in pairs]


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.25, 0.5, 0.8, 1.0]), st.booleans()), min_size=2, max_size=30))
def test_no_threshold_is_better_and_none_higher_as_good(rows: list[tuple[float, bool]]) -> None:
    scores, truth = (np.array(column) for column in zip(*rows, strict=True))
    labelled = [Labelled(Pair((), str(score)), supported) for score, supported in rows]
    if truth.all() or not truth.any():
        with pytest.raises(InvalidInput, match=f"all {len(rows)} labelled claims are (un)?supported"):
            calibrate(Given(), labelled)
        return

    def accuracy(threshold: float) -> float:
        said = scores >= threshold
        return float((said[truth].mean() + (~said)[~truth].mean()) / 2)

    found = calibrate(Given(), labelled)
    best = max(accuracy(threshold) for threshold in scores)
    assert found.balanced_accuracy == pytest.approx(best) == pytest.approx(accuracy(found.threshold))
    assert all(accuracy(score) < best - 1e-9 for score in scores if score > found.threshold)
    assert found.balanced_accuracy_before == pytest.approx(accuracy(0.5))
    wins = [(a > b) + (a == b) / 2 for a in scores[truth] for b in scores[~truth]]
    assert found.auroc == pytest.approx(np.mean(wins))
    assert (found.supported, found.unsupported) == (truth.sum(), (~truth).sum())
    assert (found.scorer, found.version, found.sha256) == ("given", "3", "abc")


def rows(tmp_path: Path, *values: Any) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in values))
    return file


def test_labelled_claims_are_read_in_both_forms(tmp_path: Path) -> None:
    own = {"claim": "Oslo", "passages": ["a", "b"], "supported": False, "question": "Where?"}
    halueval = {"knowledge": "k", "question": "q", "right_answer": "r", "hallucinated_answer": "h"}
    assert read_labelled(rows(tmp_path, own, halueval, own | {"passages": "a", "question": None})) == [
        Labelled(Pair(("a", "b"), "Oslo", "Where?"), False),
        Labelled(Pair(("k",), "r", "q"), True),
        Labelled(Pair(("k",), "h", "q"), False),
        Labelled(Pair(("a",), "Oslo"), False),
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"supported": "yes"}, "'supported' that is true or false"),
        ({"claim": " "}, "'claim' that is a text"),
        ({"claim": ["a", "b"]}, "several claims"),
        ({"passages": []}, "'passages' that is a text"),
        ({"passages": [1]}, "'passages' that is a text"),
        ({"right_answer": "r"}, "'knowledge' that is a text"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    own = {"claim": "Oslo", "passages": ["a"], "supported": True}
    with pytest.raises(InvalidInput, match=said) as told:
        read_labelled(rows(tmp_path, own, own | change))
    assert str(told.value.where).endswith("rows.jsonl:2")


def test_support_by_words_tells_right_answers_of_halueval_from_invented_ones(halueval: Path) -> None:
    labelled = read_labelled(halueval)
    exact, lexical = calibrate(Exact(), labelled), calibrate(Lexical(), labelled)
    assert exact.supported == exact.unsupported == len(halueval.read_text().splitlines())
    if not halueval.is_relative_to(SHARED):  # every right value of the fact world stands in its passage, no other does
        assert exact.auroc == lexical.auroc == 1.0
        return
    # The right answers are mostly spans of the passage, so that even their length tells them apart (.93).
    assert exact.auroc == pytest.approx(0.964, abs=0.005)
    assert lexical.auroc == pytest.approx(0.886, abs=0.005)
