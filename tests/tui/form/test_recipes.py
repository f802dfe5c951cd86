"""Which recipes there are to choose from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui.form.recipes import find_recipes


def test_those_of_the_checkout_are_found_from_any_folder_after_those_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "recipes" / "mine.yaml"
    own.parent.mkdir()
    own.write_text("kind: sim\n")
    monkeypatch.chdir(tmp_path)
    found = find_recipes()
    assert (found[0].title, found[0].kind) == ("recipes/mine.yaml", "sim")
    checkout = Path(__file__).parents[3] / "recipes"
    assert {recipe.path for recipe in found[1:]} == set(checkout.rglob("*.yaml"))
    assert not any(recipe.problem for recipe in found)
