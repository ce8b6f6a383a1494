"""The fenced blocks of README and docs, and the commands in them."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import typer.main
from conftest import ROOT

from daemon.cli.app import command_line
from tinyast.training.recipe import Recipe

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").rglob("README.md")),
]
OTHERS = frozenset({
    "apt", "arecord", "cd", "chmod", "chown", "cp", "curl", "docker", "done", "echo", "export",
    "for", "install", "jq", "make", "mkdir", "mosquitto_passwd", "nc", "pip", "pipx",
    "podman", "printf", "ray", "sort", "sudo", "systemctl", "tee", "uniq", "uv",
})  # fmt: skip
"""Programs of the system and words of the shell, whose options are not checked here."""

_FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.S | re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, and its first line."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A line for a shell, with its continuation, and the block that it stands in."""

    block: Block
    text: str

    def __str__(self) -> str:
        return f"{self.block}: {self.text}"


@cache
def blocks() -> tuple[Block, ...]:
    """All of them, page after page."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _FENCED.finditer(text):
            line = text[: match.start()].count("\n") + 1
            found.append(Block(page, line, match[2], textwrap.dedent(match[3])))
    return tuple(found)


def commands() -> list[Command]:
    """The commands of all blocks without a language that begin with one."""
    found = []
    for block in blocks():
        lines = block.text.replace("\\\n", " ").replace("|\n", "| ").splitlines()
        lines = [line.strip() for line in lines if line.strip()]
        if block.language or not lines or not is_command(lines[0]):
            continue
        found += [Command(block, line) for line in lines]
    return found


def is_command(line: str) -> bool:
    """Whether a line begins with a program that the docs use, and continues as a command does."""
    words = line.split()
    return bool(words) and (
        Path(words[0]).name in (OTHERS | {"python", "python3", "tinyastd"}) or words[0][:1] == "$"
        or re.match(r"[A-Z]+=\$", words[0]) is not None
    ) and words[0] != "$"  # fmt: skip


def parts(text: str) -> Iterator[list[str]]:
    """The words of each program that a line starts: of pipes, lists, loops and substitutions."""
    text = re.sub(r"\$\(\(.*?\)\)|\$\(date [^)]*\)", "1", text)
    text = re.sub(r"\w+=\$\((.*?)\)", r"\1", text)
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;"):
            while words and (words[0] in ("do", "sudo") or re.match(r"[A-Z_]+=", words[0])):
                words = words[1:]
            if words and words[0] != "done":
                yield words
            words = []
        else:
            words.append(word)


def problem(words: list[str]) -> str | None:
    """Why these words of one program cannot be right; None if they can be."""
    program = Path(words[0]).name
    if program == "tinyastd":
        return _problem_of_tinyastd(words[1:])
    if program in ("python", "python3") and words[1:2] == ["-m"]:
        return None if words[2] == "venv" else _problem_of_script(words[2], words[3:])
    if program == "python":
        return None if (ROOT / words[1]).is_file() else f"there is no file {words[1]}"
    if program == "make":
        wanted = [word for word in words[1:] if "=" not in word and word[0] != "-"]
        missing = [each for each in wanted if each not in _targets() and "-C" not in words]
        return f"the Makefile has no target {missing[0]}" if missing else None
    return None if program in OTHERS else f"{program} is no program that this test knows"


@cache
def _targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))


def _problem_of_tinyastd(words: list[str]) -> str | None:
    if not words or words[0][0] == "-":
        return None
    known = _options().get(words[0])
    return f"there is no command {words[0]}" if known is None else _unknown(words[1:], known)


@cache
def _options() -> dict[str, set[str]]:
    """The options of each command of `tinyastd`."""
    found = typer.main.get_group(command_line()).commands
    return {
        name: {"--help"} | {option for each in command.params for option in each.opts}
        for name, command in found.items()
    }


def _problem_of_script(module: str, words: list[str]) -> str | None:
    known = _options_of(module)
    if not known:
        return f"there is no script {module}"
    return _unknown(words, known)


def _unknown(words: list[str], known: set[str]) -> str | None:
    for word in words:
        if word.startswith("--") and word.partition("=")[0] not in known:
            return f"there is no option {word}"
    return None


@cache
def _options_of(module: str) -> set[str]:
    """The options of a script, from its source: importing some of them loads torch."""
    path = ROOT / Path(*module.split("."))
    path = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    if not path.is_file():
        return set()
    found, tree = {"--help"}, ast.parse(path.read_bytes())
    named_types = {
        node.targets[0].id: ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for each in [*node.args.args, *node.args.kwonlyargs]:
                kind = "" if each.annotation is None else ast.unparse(each.annotation)
                kind = named_types.get(kind, kind)
                if "typer.Option" in kind:
                    named = re.findall(r"'(--[\w-]+)'", kind)
                    found |= set(named or [f"--{each.arg.replace('_', '-')}"])
    if module == "scripts.train":
        found |= {f"--{key.replace('_', '-')}" for key in Recipe.__struct_fields__}
    return found
