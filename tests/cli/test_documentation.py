"""docs/commands.md has every command and every exit code."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from engine.cli.__main__ import COMMANDS, engine
from engine.errors import ExitCode

EVERYWHERE = {"--db", "--json", "--quiet", "--no-color", "--debug"}
PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_its_options_are_on_the_page(name: str) -> None:
    command = engine.get_command(click.Context(engine), name)
    assert command is not None
    if command.hidden:
        return
    rows = [line for line in PAGE.splitlines() if f"`engine {name}" in line]
    assert rows, f"engine {name} is missing"
    commands = [command]
    if isinstance(command, click.Group):
        below = command.list_commands(click.Context(command))
        assert all(sub in rows[0] or any(f"engine {name} {sub}" in row for row in rows) for sub in below)
        commands += [found for sub in below if (found := command.get_command(click.Context(command), sub)) is not None]
    for option in (option for each in commands for option in each.params):
        if isinstance(option, click.Option) and not EVERYWHERE & set(option.opts):
            assert any(name in row for row in rows for name in option.opts), f"{name} {option.opts}"


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_is_on_the_page(code: ExitCode) -> None:
    assert f"| {int(code)} | " in PAGE
