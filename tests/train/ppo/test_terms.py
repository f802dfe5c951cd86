"""What each rule of the reward says of answers, and how a user's own function is held to its contract."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput, RunFailed
from engine.spec.ppo import RewardTerm
from engine.train.ppo import terms
from engine.train.ppo.terms import Answer, Rule, make_rule

ABSTENTIONS = ("unknown", "I don't know")


def answer(response: str = "Lisbon", **changes: object) -> Answer:
    values: dict[str, object] = {
        "prompt": "Where was Ada born?",
        "response": response,
        "accepted": ("Lisbon", "Lisboa"),
        "answerable": True,
        "evidence": None,
        "ended": True,
        "tokens": 2,
        "group": None,
    }
    return Answer(**(values | changes))  # type: ignore[arg-type]


def rule(**settings: object) -> Rule:
    return make_rule("mine", RewardTerm.model_validate(settings), ABSTENTIONS)


def test_exact_match_gives_each_verdict_its_worth() -> None:
    judge = rule(kind="exact_match", correct=2.0, abstained=0.25, wrong=-3.0)
    answers = [
        answer("the lisboa."),
        answer("I don't know, maybe Lisbon"),
        answer("Porto"),
        answer(""),
        answer("Unknown", answerable=False, accepted=()),
        answer("Porto", answerable=False, accepted=()),
        answer("Lisbon", answerable=False),
    ]
    assert judge(answers) == [2.0, 0.25, -3.0, -3.0, 0.25, -3.0, -3.0]


@pytest.mark.parametrize("answerable", [None, True])
def test_exact_match_has_nothing_to_say_where_no_answer_is_known(answerable: bool | None) -> None:
    judge = rule(kind="exact_match")
    assert judge([answer(text, accepted=(), answerable=answerable) for text in ("Porto", "unknown")]) == [0.0, 0.0]


def test_abstention_is_one_where_an_answer_begins_with_a_phrase() -> None:
    assert rule(kind="abstention")([answer("unknown to me"), answer("It is unknown"), answer("")]) == [1.0, 0.0, 0.0]


@given(st.integers(1, 100), st.integers(0, 1000))
def test_length_costs_nothing_up_to_the_target_and_one_over_it_for_each_token_more(target: int, tokens: int) -> None:
    (value,) = rule(kind="length", target=target)([answer(tokens=tokens)])
    assert value == pytest.approx(min(0.0, 1.0 - tokens / target))
    assert math.copysign(1.0, value) == (1.0 if tokens <= target else -1.0)


def test_regex_is_one_where_the_pattern_is_found_anywhere() -> None:
    judge = rule(kind="regex", pattern=r"\[\d+\]")
    assert judge([answer("so it is [12]."), answer("so it is [x].")]) == [1.0, 0.0]


def test_a_pattern_that_is_none_is_named_at_the_start() -> None:
    with pytest.raises(InvalidInput, match="no regular expression") as caught:
        rule(kind="regex", pattern="(")
    assert caught.value.where == "rewards.mine.pattern"


def test_a_pattern_that_would_search_for_ever_fails_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms, "_SEARCH_SECONDS", 0.05)
    with pytest.raises(RunFailed, match="was searched for") as caught:
        rule(kind="regex", pattern="(a|aa)+$")([answer("a" * 200 + "b")])
    assert caught.value.where == "rewards.mine.pattern"


@pytest.mark.parametrize("settings", [{"kind": "model", "path": "/models/reward"}, {"kind": "support"}])
def test_what_needs_more_than_an_answer_is_no_rule(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"is of kind {settings['kind']}, not a rule"):
        rule(**settings)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a module `judging_words` in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path / "judging_words.py"
    sys.modules.pop("judging_words", None)


def own(module: Path, body: str, name: str = "judge") -> Rule:
    module.write_text(body)
    return rule(kind="function", function=f"judging_words:{name}")


def test_a_function_of_the_working_directory_gets_the_answers_and_gives_a_number_for_each(module: Path) -> None:
    judge = own(module, "def judge(answers):\n    return [len(a.response) / a.tokens for a in answers]\n")
    assert judge([answer("four"), answer("sixsix", tokens=3)]) == [2.0, 2.0]
    assert sys.path[-1] == os.fspath(module.parent)


@pytest.mark.parametrize("given", [[1, True], (1.0, np.float32(1.0)), np.ones(2), torch.ones(2), (one for one in "ab")])
def test_all_sorts_of_numbers_are_taken(module: Path, given: Sequence[object]) -> None:
    judge = own(module, "given = None\ndef judge(answers):\n    return given\n")
    sys.modules["judging_words"].given = given  # type: ignore[attr-defined]
    if isinstance(given, Iterator):
        with pytest.raises(RunFailed, match="gave a str, which is no number"):
            judge([answer(), answer()])
    else:
        values = judge([answer(), answer()])
        assert values == [1.0, 1.0]
        assert {type(value) for value in values} == {float}


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        ("1 / 0", "raised ZeroDivisionError: division by zero."),
        ("exit(3)", "raised SystemExit: 3."),
        ("None", "raised TypeError"),
        ("[1.0]", "gave 1 numbers for 2 answers."),
        ("[1.0, float('nan')]", "gave nan for the answer 'Porto' to 'Where was Ada born?'."),
        ("[float('-inf'), float('nan')]", "gave -inf for the answer 'Lisbon' to"),
        ("[1.0, '1.0']", "gave a str, which is no number, for the answer 'Porto'"),
        ("[None, 1.0]", "gave a NoneType, which is no number, for the answer 'Lisbon'"),
        ("[[1.0], [2.0]]", "gave a list, which is no number"),
    ],
)
def test_a_function_that_breaks_its_contract_fails_the_run_in_one_sentence(
    module: Path, result: str, sentence: str
) -> None:
    judge = own(module, f"def judge(answers):\n    return {result}\n")
    with pytest.raises(RunFailed) as caught:
        judge([answer(), answer("Porto")])
    assert caught.value.message.startswith("the function judging_words:judge ")
    assert sentence in caught.value.message
    assert caught.value.where == "rewards.mine.function"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("body", "name", "sentence"),
    [
        ("import no_such_neighbour", "judge", "there is no module no_such_neighbour."),
        ("raise OSError('no licence')", "judge", "importing judging_words raised OSError: no licence."),
        ("def (", "judge", "importing judging_words raised SyntaxError"),
        ("", "judge", "judging_words has nothing of the name judge."),
        ("judge = 3", "judge", "judging_words has nothing callable of the name judge."),
        ("", "judge.one", "is not of the form MODULE:NAME."),
    ],
)
def test_a_function_that_cannot_be_had_is_told_at_the_start(module: Path, body: str, name: str, sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        own(module, body, name)
    assert sentence in caught.value.message
    assert caught.value.where == "rewards.mine.function"


@pytest.mark.parametrize("path", ["judging_words.judge", ":judge", "judging_words:", "a/b.py:judge"])
def test_a_path_of_another_form_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match="not of the form MODULE:NAME"):
        rule(kind="function", function=path)


def test_a_function_in_a_file_of_its_own_needs_no_module(tmp_path: Path) -> None:
    file = tmp_path / "judging.py"
    file.write_text("def grade(answers):\n    return [len(answer.response) for answer in answers]\n")
    term = RewardTerm(kind="function", file=str(file), function="grade")
    assert make_rule("own", term, ())([answer("ab"), answer("abc")]) == [2.0, 3.0]
    with pytest.raises(InvalidInput, match="has nothing of the name other"):
        make_rule("own", term.model_copy(update={"function": "other"}), ())
    file.write_text("def grade(:\n")
    with pytest.raises(InvalidInput, match=r"judging\.py raised SyntaxError"):
        make_rule("own", term, ())
