"""docs/messages.md describes each field of heartbeats and of the status reply, and shows it."""

from __future__ import annotations

import json
import re

import pytest
from conftest import ROOT
from msgspec import Struct

from daemon.protocol.states import DaemonStatus, FolderState, Heartbeat, MicrophoneState

TEXT = (ROOT / "docs" / "messages.md").read_text(encoding="utf-8")


def part(title: str) -> str:
    return re.split(r"^#{2,3} ", TEXT.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.M)[0]


@pytest.mark.parametrize(
    ("title", "kind"), [("heartbeat", Heartbeat), ("Status request", DaemonStatus)]
)
def test_each_field_is_described_and_shown(title: str, kind: type[Struct]) -> None:
    section = part(title)
    rows = "\n".join(re.findall(r"^\| (`.*?) \|", section, re.M))
    example = json.loads(section.split("```json\n", 1)[1].split("```", 1)[0])
    assert set(example) == set(kind.__struct_fields__)
    assert set(kind.__struct_fields__) <= set(re.findall(r"`(\w+)`", rows))


def test_each_field_of_a_source_is_described() -> None:
    names = {*FolderState.__struct_fields__, *MicrophoneState.__struct_fields__}
    assert names <= set(re.findall(r"`(\w+)`", part("heartbeat")))
