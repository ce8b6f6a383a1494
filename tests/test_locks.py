"""The lock files, which hold what CI and a release install to its hashes, fit the project."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ROOT / "config" / "locks"
ENTRY = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^ ;\\]+)", re.MULTILINE)


def locked(name: str) -> dict[str, str]:
    text = (LOCKS / name).read_text()
    return {canonicalize_name(found["name"]): found["version"] for found in ENTRY.finditer(text)}


def wanted(*extras: str) -> Iterator[Requirement]:
    """What the project asks for, with these extras and those that they name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"].get(extra, [])
    for requirement in map(Requirement, lines):
        if requirement.name == project["name"]:
            yield from wanted(*requirement.extras)
        else:
            yield requirement


@pytest.mark.parametrize(
    ("lock", "extras"), [("base.txt", ("page", "mqtt", "notify")), ("dev.txt", ("dev", "cluster"))]
)
def test_the_lock_has_what_the_project_asks_for(lock: str, extras: tuple[str, ...]) -> None:
    """If it fails: `make lock`."""
    versions = locked(lock) | locked("torch.txt")
    for requirement in wanted(*extras):
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} is not in {lock}; run `make lock`"
        assert requirement.specifier.contains(versions[name]), f"{name}; run `make lock`"


def test_home_assistant_is_locked_at_the_version_that_is_asked_for() -> None:
    """If it fails: `make lock`."""
    versions = locked("home-assistant.txt")
    lines = (LOCKS / "home-assistant.in").read_text().splitlines()
    for requirement in (Requirement(line.partition(" #")[0]) for line in lines):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)])
    assert "aiohttp" in versions  # what Home Assistant itself asks for


def test_all_locks_agree_and_name_a_hash_for_each_version() -> None:
    development = locked("dev.txt")
    for name, version in locked("base.txt").items():
        assert development.get(name, version) == version, name
    for path in LOCKS.glob("*.txt"):
        text = path.read_text()
        assert "://" not in text, f"{path.name} names an index"
        for entry in re.split(r"\n(?=[^ ])", text.strip()):
            assert "--hash=sha256:" in entry, entry
    assert not {name for name in development if re.match(r"torch$|triton|nvidia-|cuda-", name)}


def test_make_installs_the_locked_torch() -> None:
    (version,) = re.findall(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert version == f"torch=={locked('torch.txt')['torch']}"


def test_a_build_of_torch_that_no_lock_knows_is_refused(tmp_path: Path) -> None:
    """`pip` stands in: it downloads a file of the right name, and must not be asked to install."""
    pip = tmp_path / "pip"
    pip.write_text(
        '#!/bin/sh\necho "$1" >> "$0.log"\n'
        'case $1 in\n  download) echo other > "$4/torch-2.13.0-py3-none-any.whl" ;;\nesac\n'
    )
    pip.chmod(0o755)
    version = f"torch=={locked('torch.txt')['torch']}"
    command = [str(LOCKS / "torch.sh"), version, str(pip)]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert (refused.returncode, "torch-cpu.sha256" in refused.stderr) == (1, True), refused.stderr
    assert "install" not in (tmp_path / "pip.log").read_text()


VULNERABLE = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
CLEAN = {"name": "a", "version": "1", "vulns": []}


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (json.dumps({"dependencies": [VULNERABLE]}), 1, "a 1: CVE-1, fixed in 2"),
        (
            json.dumps({"dependencies": [CLEAN]}),
            0,
            "audited 1",
        ),
        (json.dumps({"dependencies": [{"name": "a", "skip_reason": "?"}]}), 0, "not audited: 1"),
        ("", 0, "not audited: the advisory database cannot be reached"),
    ],
)
def test_an_audit_says_what_it_could_not_look_up(
    tmp_path: Path, answer: str, code: int, said: str
) -> None:
    (tmp_path / "answer").write_text(answer)
    fake = tmp_path / "pip-audit"
    fake.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n")
    fake.chmod(0o755)
    script = ROOT / "config" / "packaging" / "audit.py"
    command = [sys.executable, str(script), str(fake), str(LOCKS / "base.txt")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout + done.stderr
