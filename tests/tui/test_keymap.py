"""Keys of one's own: they mean what the file says everywhere, and a wrong file is refused with a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import InvalidInput, NotFound
from tui.actions import keymap
from tui.actions.table import ACTIONS


def test_an_action_gets_its_keys_and_all_others_keep_theirs(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("kill: ctrl+k\nfilter: slash, f\n")
    changed = keymap.rebound(ACTIONS, keymap.read(file), str(file))
    before = {action.id: action.keys for action in ACTIONS}
    assert {action.id: action.keys for action in changed if action.keys != before[action.id]} == {
        "kill": "ctrl+k",
        "filter": "slash,f",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kil: x", "Did you mean kill?"),
        ("kill: I", "I would mean both interrupt and kill"),
        ("kill: 7", "is no key"),
        ("- kill", "must have lines of ACTION: KEY"),
        ("kill: [", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput) as refused:
        keymap.rebound(ACTIONS, keymap.read(file), str(file))
    assert says in f"{refused.value} {refused.value.hint}"
    assert str(file) in str(refused.value)


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        keymap.read(tmp_path / "none.yaml")


def test_screens_key_bar_and_help_have_the_keys_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("kill: ctrl+k\n")
    program = f"""
from pathlib import Path
from tui.actions import keymap, table
keymap.apply(Path({str(file)!r}))
from tui.app import PlumblineApp
assert [binding.key for binding in PlumblineApp.BINDINGS if binding.id == "kill"] == ["ctrl+k"]
assert table.find("kill").key_display == "^k"
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2], timeout=60)
