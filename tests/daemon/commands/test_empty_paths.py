"""No command takes an empty path for the current folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from daemon.cli.app import command_line
from daemon.cli.command import Command, is_path, name_of
from daemon.errors import SettingsError


def words() -> Iterator[tuple[str, ...]]:
    """For each path of each command, a command line that leaves this one empty."""
    group = typer.main.get_command(command_line())
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert isinstance(command, Command), name
        needed = [each for each in command.params if each.param_type_name == "argument"]
        must = [each for each in command.params if each.required and each not in needed]
        for empty in filter(is_path, command.params):
            line = ["" if each is empty else "x" for each in needed]
            for option in {id(each): each for each in (*must, empty)}.values():
                if option not in needed:
                    line += [option.opts[0], "" if option is empty else "x"]
            yield (name, *line, name_of(empty))


@pytest.mark.parametrize("line", list(words()), ids=" ".join)
def test_an_empty_path_is_refused(line: tuple[str, ...]) -> None:
    done = CliRunner().invoke(command_line(), line[:-1])
    assert isinstance(done.exception, SettingsError), done.output
    assert str(done.exception) == f"{line[-1]} is empty; name a path (. is the current folder)"


def test_every_path_was_tried() -> None:
    tried = {(line[0], line[-1]) for line in words()}
    assert {
        ("similar", "CLIP"), ("similar", "PATH"), ("classify", "PATH"), ("classify", "--output"),
        ("keygen", "DIR"), ("learn", "FOLDER"), ("learn", "--output"), ("run", "--watch"),
        ("page", "--server-key"), ("notify", "--config"), ("restore", "COPY"),
    } <= tried  # fmt: skip
    assert len(tried) > 60
