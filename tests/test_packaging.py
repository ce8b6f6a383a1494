"""The installed package: its modules, the model, and no heavy dependency."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from conftest import ROOT

import tinyast
from daemon.settings.loading import load

CHECKPOINT = (
    "config.json",
    "preprocessor_config.json",
    "features-16000.onnx",
    "model.onnx",
    "SHA256SUMS",
    "README.md",
)
HEAVY = {"torch", "transformers", "librosa", "pandas", "matplotlib", "onnx", "onnxscript"}


def build(into: Path, umask: int) -> Path:
    """A release's wheel and sdist, made under this umask."""
    script = ROOT / "config" / "packaging" / "dist.sh"
    command = list(map(str, (script, into, sys.executable)))
    done = subprocess.run(command, capture_output=True, text=True, umask=umask)
    assert done.returncode == 0, done.stderr
    return into


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built"), 0o022)


def only(folder: Path, ending: str) -> Path:
    (found,) = folder.glob(f"*{ending}")
    return found


def test_a_release_has_the_same_bytes_when_it_is_built_again(built: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "user's copy", 0o077)
    for ending in (".whl", ".tar.gz"):
        first, second = only(built, ending), only(again, ending)
        assert (first.name, first.read_bytes()) == (second.name, second.read_bytes())


def test_the_wheel_has_both_packages_and_the_checkpoint(built: Path) -> None:
    with zipfile.ZipFile(only(built, ".whl")) as wheel:
        names = wheel.namelist()
        entry = next(name for name in names if name.endswith("entry_points.txt"))
        assert "tinyastd = daemon.__main__:main" in wheel.read(entry).decode()
    for name in CHECKPOINT:
        assert f"tinyast/checkpoints/esc50/{name}" in names
    assert {"tinyast/py.typed", "daemon/py.typed"} <= set(names)
    assert any(name.endswith("share/tinyast/tinyastd.service") for name in names)
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not re.match(r"tinyast-", name)} == {"daemon", "tinyast"}


def test_the_sdist_has_the_checkpoint_and_the_locked_versions(built: Path) -> None:
    with tarfile.open(only(built, ".tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in CHECKPOINT:
        assert f"tinyast/checkpoints/esc50/{name}" in names
    assert "config/locks/base.txt" in names


def test_the_base_install_asks_for_nothing_heavy() -> None:
    asked = metadata.requires("tinyast") or []
    base = {re.split(r"[^\w-]", line)[0].lower() for line in asked if "extra ==" not in line}
    assert not base & HEAVY
    assert {"numpy", "onnxruntime", "pyzmq", "watchdog", "typer"} <= base
    train = {re.split(r"[^\w-]", line)[0].lower() for line in asked if "train" in line}
    assert train >= HEAVY


def test_each_subscriber_has_an_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"page", "mqtt", "notify"} <= set(project["optional-dependencies"])


def imported(*folders: str) -> set[str]:
    """Top-level packages that the code in these folders imports, at the top or in a function."""
    found: set[str] = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"daemon", "tinyast", "scripts"}


def test_every_import_is_of_a_declared_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]

    def names(listed: list[str]) -> set[str]:
        return {re.split(r"[\[<>=]", text)[0].lower().replace("-", "_") for text in listed}

    providers = metadata.packages_distributions()

    def undeclared(packages: set[str], declared: set[str]) -> set[str]:
        return {
            name
            for name in packages
            if not {one.lower().replace("-", "_") for one in providers.get(name, [name])} & declared
        }

    base = names(project["dependencies"])
    optional = {name: names(extra) for name, extra in extras.items()}
    offline = optional["train"] | optional["peers"]
    drawing = {"pillow", "playwright"}  # of scripts.screenshots
    assert drawing <= optional["dev"]
    assert undeclared(imported("tinyast", "scripts"), base | offline | drawing) == set()
    subscribers = set().union(*optional.values()) - offline - optional["dev"]
    assert undeclared(imported("daemon"), base | subscribers) == set()


PACKAGING = ROOT / "config" / "packaging"


def test_the_settings_of_each_package_can_be_used() -> None:
    assert load(PACKAGING / "debian" / "tinyast.toml", {}).folder[0].path == "/var/spool/tinyast"
    assert load(PACKAGING / "container.toml", {}).folder[0].path == "/recordings"


@pytest.mark.parametrize(
    ("folder", "microphone"),
    [
        ("", True),
        ('/media/birds "n" bees', True),
        ("/media/birds", False),
        ("birds \U0001f426\x7f\\\t", False),  # below /media
    ],
)
def test_the_options_of_the_add_on_become_settings(
    tmp_path: Path, folder: str, microphone: bool
) -> None:
    found = importlib.util.spec_from_file_location("start", PACKAGING / "home-assistant/start.py")
    assert found is not None
    assert found.loader is not None
    start = importlib.util.module_from_spec(found)
    found.loader.exec_module(start)
    options = {"microphone": microphone, "folder": folder, "labels": ["dog"], "password": "äöü"}
    mqtt = {
        "host": "core-mosquitto",
        "port": 1883,
        "username": "u",
        "password": "p\\q",
        "ssl": False,
    }
    config = tmp_path / "tinyast.toml"
    config.write_text(start.settings(options, mqtt, tmp_path), encoding="utf-8")
    settings = load(config, {})
    assert [each.path for each in settings.folder] == (
        [f"/media/{folder.removeprefix('/media/')}"] if folder else []
    )
    assert len(settings.microphone) == microphone
    assert settings.mqtt is not None
    assert (settings.mqtt.host, settings.mqtt.password) == ("core-mosquitto", "p\\q")
    assert (tmp_path / "password").read_text(encoding="utf-8") == "äöü\n"
    assert (tmp_path / "password").stat().st_mode & 0o777 == 0o600


def test_the_add_on_keeps_its_state_in_its_data_whatever_the_image_says(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "options.json").write_text(f'{{"folder": "{tmp_path}"}}')
    code = (
        "import pathlib, runpy, sys; runpy.run_path(sys.argv[1])['main'](pathlib.Path(sys.argv[2]))"
    )
    places = {"PYTHONPATH": str(ROOT), "TINYAST_STATE": str(tmp_path / "image")}
    places |= {f"TINYAST_{name}": f"ipc://{tmp_path}/{name}" for name in ("PUBLISH", "REPLAY")}
    command = [sys.executable, "-c", code, str(PACKAGING / "home-assistant/start.py"), str(data)]
    with subprocess.Popen(
        command, env=os.environ | places, stderr=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stderr is not None
        (ready,) = itertools.islice((line for line in daemon.stderr if "ready" in line), 1)
        daemon.terminate()
        daemon.stderr.read()
    assert f"journal in {data}/state" in ready
    assert not (tmp_path / "image").exists()


def test_the_add_on_has_this_version_and_the_container_copies_what_is_there() -> None:
    addon = (PACKAGING / "home-assistant" / "config.yaml").read_text()
    assert f'version: "{tinyast.__version__}"' in addon
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", (PACKAGING / "Containerfile").read_text(), re.M)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
