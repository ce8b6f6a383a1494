"""README and docs name files, commands and headings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT
from test_layers import LAYERS

from daemon.cli.app import command_line
from tinyast import __version__

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").rglob("README.md")),
    *sorted((ROOT / "tinyast" / "checkpoints").rglob("README.md")),
]
HISTORY = {"CHANGELOG.md", "model-log.md"}  # may name files of earlier versions
FILES = re.compile(
    r"(?<![\w./-])(?:daemon|tinyast|scripts|tests|config|docs|examples)/"
    r"[\w./-]*?\w(?:\.(?:py|md|toml|json|service)\b|/(?=$| ))"
)


def _plain(text: str) -> str:
    return re.sub(r"(?s)```.*?```", "", text)


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    heads = re.findall(r"^#+ (.*)$", _plain(page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _plain(page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in _anchors(linked), f"{page.name} links to {target}"


@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if p.name not in HISTORY],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_named_files_exist(page: Path) -> None:
    for code in re.findall(r"`([^`\n]+)`", _plain(page.read_text(encoding="utf-8"))):
        for name in FILES.findall(code):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_the_readme_lists_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in text.splitlines() if line.startswith("| `"))
    for command in command_line().registered_commands:
        name = str(command.name or getattr(command.callback, "__name__", ""))
        assert re.search(rf"[`, ]{re.escape(name)}\b", table), f"README does not list {name}"


@pytest.mark.parametrize("package", LAYERS)
def test_contributing_draws_the_layers_that_the_tests_hold(package: str) -> None:
    """Every package and module of the top level that exists has its place in the picture."""
    picture = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```")[3]
    for row in LAYERS[package]:
        for name in row:
            path = ROOT / package / name.replace(".", "/")
            if path.is_dir() or path.with_suffix(".py").is_file():
                assert re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", picture), name


def test_the_architecture_names_each_package_and_only_modules_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text[text.index("## Packages") : text.index("## Threads")]
    named = set()
    for packages, modules in re.findall(r"^\| (`[^|]*) \| [^|]* \| ([^|]*) \|$", table, re.M):
        folders = [ROOT / name.replace(".", "/") for name in re.findall(r"`([\w.]+)`", packages)]
        named |= {str(folder.relative_to(ROOT)) for folder in folders}
        for name in re.findall(r"`(\w+)`", modules):
            places = [folder / name for folder in folders]
            found = any(each.is_dir() or each.with_suffix(".py").is_file() for each in places)
            assert found, f"{packages} has no {name}"
    for package in ("daemon", "daemon/sources", "tinyast"):
        for folder in sorted((ROOT / package).iterdir()):
            if (folder / "__init__.py").is_file() and folder.name != "sources":
                assert str(folder.relative_to(ROOT)) in named


def test_file_names_of_releases_have_the_version_of_this_one() -> None:
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert set(re.findall(r"tinyast[-_](\d[\d.]*\d)[-_]", text)) == {__version__}
