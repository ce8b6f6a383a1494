"""The layout of the packages: imports point down, and no folder or function grows without end."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

LAYERS: dict[str, tuple[tuple[str, ...], ...]] = {  # top first; one row's names are strangers
    "daemon": (
        ("__main__",),
        ("cli",),
        ("cluster",),
        ("commands",),
        ("service",),
        ("sources.folder", "sources.microphone", "delivery", "page", "mqtt", "notify"),
        ("client",),
        ("pipeline",),
        ("journal", "monitoring", "tables"),
        ("protocol",),
        ("settings", "host"),
        ("errors",),
    ),
    "tinyast": (
        ("training", "evaluation", "hf"),
        ("export",),
        ("data",),
        ("classifier", "learning"),
        ("inference",),
        ("model",),
        ("features",),
        ("audio",),
        ("onnx_session", "shipped", "threads", "arrays", "errors"),
    ),
}
SUBSCRIBERS = ("page", "mqtt", "notify")
MAY_USE = {  # modules that may import less than what lies below them
    "daemon.client": ("daemon.protocol", "daemon.host", "daemon.errors"),
    "daemon.sources.microphone.capture": ("daemon.sources.microphone.framing", "daemon.host"),
    "daemon.sources.microphone.stream_capture": (
        "daemon.sources.microphone.framing",
        "daemon.sources.microphone.ffmpeg_input",
        "daemon.settings.urls",
        "daemon.host",
    ),
    "daemon.sources.microphone.ffmpeg_input": (
        "daemon.sources.microphone.framing",
        "daemon.settings.urls",
        "daemon.host",
    ),
    "daemon.protocol": ("daemon.host", "daemon.errors"),
    **{
        f"daemon.{name}": tuple(
            f"daemon.{below}"
            for below in ("client", "tables", "protocol", "settings", "host", "errors")
        )
        for name in SUBSCRIBERS
    },
}
OFFLINE = tuple(
    f"tinyast.{name}" for name in ("training", "evaluation", "export", "data", "model", "hf")
)
# Imported inside a function alone, and only for `--engine torch`.
LAZY = ("tinyast.inference.engine", "tinyast.inference.torch_engine")
MOST_MODULES = 12  # in a folder
MOST_LINES = 50  # of a function
TOP_OF_DAEMON = {"__init__.py", "__main__.py", "client.py", "errors.py"}


def _modules() -> Iterator[tuple[str, Path]]:
    for package in LAYERS:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[-1] != "__init__":
                yield ".".join(parts), path


MODULES = list(_modules())
NAMES = [name for name, _ in MODULES]
PATHS = [path for _, path in MODULES]


def _imported(path: Path) -> Iterator[str]:
    """Every module or name that a file imports, however deep in a function."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from daemon.host import clock` names a module too.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _layer(module: str) -> tuple[int, str] | None:
    """The row of a module's layer, from the top, and the layer's name."""
    package, _, rest = module.partition(".")
    for row, names in enumerate(LAYERS.get(package, ())):
        for name in names:
            if rest == name or rest.startswith(f"{name}."):
                return row, f"{package}.{name}"
    return None


@pytest.mark.parametrize(("module", "path"), MODULES, ids=NAMES)
def test_imports_point_down(module: str, path: Path) -> None:
    here = _layer(module)
    assert here is not None, f"{module} has no layer: put it into one"
    for name in _imported(path):
        there = _layer(name)
        if there and name.split(".")[0] == module.split(".")[0] and there[1] != here[1]:
            assert there[0] > here[0], f"{module} imports {name}, which is not below it"


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = set(NAMES)
    imports = {
        module: {
            name if name in known else name.rpartition(".")[0]
            for name in _imported(path)
            if name in known or name.rpartition(".")[0] in known
        }
        for module, path in MODULES
    }
    tuple(TopologicalSorter(imports).static_order())  # raises CycleError, which names them


@pytest.mark.parametrize("part", MAY_USE)
def test_some_parts_use_little(part: str) -> None:
    for module, path in MODULES:
        if module == part or module.startswith(f"{part}."):
            own = [name for name in _imported(path) if name.split(".")[0] == "daemon"]
            foreign = [name for name in own if not name.startswith((part, *MAY_USE[part]))]
            assert not foreign, f"{module} may import only {MAY_USE[part]}"


def test_the_two_packages_depend_one_way() -> None:
    for module, path in MODULES:
        roots = {name.split(".")[0] for name in _imported(path)}
        assert "scripts" not in roots, module
        assert module.startswith("daemon") or "daemon" not in roots, module


def test_the_daemon_imports_nothing_that_only_training_needs() -> None:
    for module, path in MODULES:
        if module.startswith("daemon.") or module == "tinyast.classifier":
            assert not [name for name in _imported(path) if name.startswith(OFFLINE)], module


def test_torch_is_imported_only_when_asked_for() -> None:
    for module, path in MODULES:
        tree = ast.parse(path.read_bytes())
        top = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        assert LAZY[1] not in {node.module for node in top}, module
        if module not in (*LAZY, LAZY[1]):
            assert not any(name.startswith(LAZY[1]) for name in _imported(path)), module


@pytest.mark.parametrize("package", ["daemon", "tinyast", "scripts"])
def test_no_folder_holds_more_than_a_dozen_modules(package: str) -> None:
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    for folder in folders:
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= MOST_MODULES, folder


def test_the_top_of_daemon_holds_packages_and_few_modules() -> None:
    assert {path.name for path in (ROOT / "daemon").glob("*.py")} == TOP_OF_DAEMON


SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))


@pytest.mark.parametrize("path", [*PATHS, *SCRIPTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_function_is_long(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= MOST_LINES, f"{node.name} has {lines} lines"


def test_each_test_is_in_one_part_of_acceptance() -> None:
    makefile = (ROOT / "Makefile").read_text()
    parts = re.search(r"^PARTS := (.*)$", makefile, re.M)
    assert parts is not None
    places = re.findall(rf"^(?:{parts[1].replace(' ', '|')}) := (.*)$", makefile, re.M)
    assert len(places) == len(parts[1].split())
    found: Counter[Path] = Counter()
    for place in " ".join(places).split():
        for path in ROOT.glob(place):
            found.update(path.rglob("test_*.py") if path.is_dir() else [path])
    assert found == Counter((ROOT / "tests").rglob("test_*.py"))
