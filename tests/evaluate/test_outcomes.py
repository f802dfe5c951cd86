"""Outcomes and figures of answers, against a table of fifty answers that was judged and counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.evaluate.judgements import Question
from engine.evaluate.outcomes import Grading, Judged, Outcome, Stated, claims_outcome, judge
from engine.evaluate.panel import by_group, calibration_figures, figures
from engine.evaluate.transitions import transitions
from tests.evaluate.fifty import FIGURES, fifty

GRADING = Grading(("unknown", "i don't know", "i do not know", "i am not sure", "i'm not sure"))


def judged() -> list[Judged]:
    return [judge(question, response, GRADING) for question, response, _ in fifty()]


def test_fifty_answers_are_what_a_person_says() -> None:
    assert len(fifty()) == 50
    wrong = [
        (question.id, response, found.outcome, golden)
        for (question, response, golden), found in zip(fifty(), judged(), strict=True)
        if found.outcome != golden
    ]
    assert not wrong


def test_fifty_answers_have_the_figures_counted_by_hand() -> None:
    values = {name: ratio.value for name, ratio in figures(judged()).items()}
    assert values == pytest.approx(FIGURES)
    groups = by_group(judged())
    assert list(groups) == ["known", "open", "unanswerable", "unknown"]
    assert groups["known"]["correct"].value == 12 / 20 and groups["unknown"]["hallucinated"].value == 9 / 20
    assert groups["known"]["refusal_recall"].value is None and groups["unanswerable"]["over_refusal"].value is None


def test_with_a_threshold_near_answers_are_correct() -> None:
    near = replace(GRADING, f1_from=0.5)
    changed = {
        question.id for question, response, golden in fifty() if judge(question, response, near).outcome != golden
    }
    assert changed == {"q16", "q17"}  # `harp and lute`, `It is the harp`: F1 1/2


def test_an_answer_of_low_confidence_was_withheld() -> None:
    question = Question("q", "?", ("Ono",), True)
    strict = replace(GRADING, abstain_below=0.5)
    outcomes = [judge(question, "Sim", strict, confidence).outcome for confidence in (0.49, 0.5, None)]
    assert outcomes == ["abstained", "hallucinated", "hallucinated"]


@pytest.mark.parametrize(
    ("stated", "answerable", "abstains", "golden"),
    [
        ([], True, True, "abstained"),
        ([], False, True, "abstained"),
        ([Stated(True, True)], True, False, "correct"),
        ([Stated(True, True), Stated(False, True)], True, False, "correct"),
        ([Stated(True, True)], True, True, "correct"),  # it says it does not know, and does
        ([Stated(True, False)], True, True, "hallucinated"),  # `I don't know, but X`
        ([Stated(True, True), Stated(False, False)], True, False, "hallucinated"),  # right, and a lie beside it
        ([Stated(False, True)], True, False, "hallucinated"),  # true, and no answer
        ([Stated(True, True)], False, False, "hallucinated"),
        ([Stated(True, True), Stated(False, None)], True, False, "undetermined"),
        ([Stated(True, None), Stated(False, False)], True, False, "hallucinated"),
        ([], True, False, "hallucinated"),
    ],
)
def test_an_answer_is_what_all_its_claims_make_it(
    stated: list[Stated], answerable: bool, abstains: bool, golden: Outcome
) -> None:
    assert claims_outcome(stated, answerable=answerable, abstains=abstains) == golden


def test_calibration_is_of_answers_that_were_given() -> None:
    def one(outcome: Outcome, confidence: float | None) -> Judged:
        return Judged("q", outcome, True, None, confidence)

    mixed = [one("correct", 0.9), one("hallucinated", 0.1), one("abstained", 1.0), one("hallucinated", None)]
    values = calibration_figures(mixed)
    assert values["auroc"] == 1.0 and values["aurc"] == 0.25
    assert values["ece"] == values["ece_equal_mass"] == pytest.approx(0.1) and values["brier"] == pytest.approx(0.01)
    log_probabilities = calibration_figures([one("correct", -0.1), one("hallucinated", -2.0)])
    assert log_probabilities["auroc"] == 1.0 and log_probabilities["ece"] is log_probabilities["brier"] is None
    assert set(calibration_figures([]).values()) == {None}


def test_transitions_tell_question_by_question_what_changed() -> None:
    def answers(letters: str, first: int = 0) -> list[Judged]:
        outcome: dict[str, Outcome] = {"c": "correct", "a": "abstained", "h": "hallucinated"}
        return [Judged(f"q{number}", outcome[letter]) for number, letter in enumerate(letters, first)]

    found = transitions(answers("cccaahhhh"), [*answers("cahcahcaha")[::-1], *answers("c", 20)])
    assert found.mended == ("q3", "q6")
    assert found.broken == ("q1", "q2")
    assert found.newly_abstains == ("q1", "q7")
    assert found.newly_hallucinates == ("q2",)
    assert found.counts["hallucinated"] == {"correct": 1, "abstained": 1, "hallucinated": 2, "undetermined": 0}
    assert sum(sum(row.values()) for row in found.counts.values()) == 9 and found.unpaired == 2
    assert found.p_correct == 1.0 and found.p_hallucinated == pytest.approx(1.0)
