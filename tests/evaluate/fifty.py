"""Fifty answers that a person judged, and their figures, counted by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from engine.evaluate.judgements import Question

FIFTY = Path(__file__).with_name("fifty_answers.tsv")
# 14 correct, 18 abstained, 17 hallucinated, 1 undetermined; of the 40 answerable ones 12 abstained, of the 8 without
# answer 5, and of the 2 of which neither is known 1.
FIGURES = {
    "correct": 14 / 50,
    "abstained": 18 / 50,
    "hallucinated": 17 / 50,
    "undetermined": 1 / 50,
    "score": -3 / 50,
    "score_at_0.5": -3 / 50,
    "score_at_0.75": (14 - 3 * 17) / 50,
    "score_at_0.9": (14 - 9 * 17) / 50,
    "hallucinated_of_attempted": 17 / 32,
    "over_refusal": 12 / 40,
    "refusal_recall": 5 / 8,
    "refusal_precision": 5 / 17,
    "refusal_f1": 10 / 25,
}


def fifty() -> list[tuple[Question, str, str]]:
    """Return question, response and what a person says of it."""
    told = {"true": True, "false": False, "": None}
    with FIFTY.open(encoding="utf-8", newline="") as lines:
        return [
            (
                Question(
                    row["id"],
                    row["question"],
                    tuple(json.loads(row["answers"])),
                    told[row["answerable"]],
                    group=row["group"],
                ),
                row["response"],
                row["outcome"],
            )
            for row in csv.DictReader(lines, delimiter="\t")
        ]
