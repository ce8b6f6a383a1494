"""The commented example is the truth about the settings."""

from __future__ import annotations

import re
from pathlib import Path

from conftest import ROOT

from daemon.settings import schema as settings
from daemon.settings import subscribers
from daemon.settings.loading import load

EXAMPLE = ROOT / "config" / "tinyast.toml"


def test_the_example_gives_the_defaults() -> None:
    assert load(EXAMPLE, environ={}) == load(environ={})


def test_the_example_names_every_setting() -> None:
    text = EXAMPLE.read_text()
    for table in (
        settings.Settings,
        settings.Folder,
        settings.Microphone,
        settings.Stream,
        settings.Decision,
        settings.Events,
        settings.Audio,
        settings.JournalLimits,
        settings.Page,
        settings.Pictures,
        settings.Privacy,
        subscribers.Mqtt,
        subscribers.HomeAssistant,
        subscribers.Notify,
        settings.Log,
    ):
        for name in table.__struct_fields__:
            assert re.search(
                rf"^(# )?(\[+(decision\.|mqtt\.)?{name}\]|\[events\.{name}\.|{name} =)", text, re.M
            ), name


def test_every_line_of_the_example_can_be_uncommented(tmp_path: Path) -> None:
    everything = re.sub(r"^# (\w+ = |\[)", r"\1", EXAMPLE.read_text(), flags=re.M)
    file = tmp_path / "all.toml"
    file.write_text(everything)
    loaded = load(file, environ={})
    assert loaded.decision.thresholds == {"dog": 0.8}
    assert loaded.microphone == (settings.Microphone(),)
    assert loaded.stream == (settings.Stream(url="rtsp://camera.example/audio"),)
    rule = settings.EventRule(confirm_at=0.6)
    assert loaded.events == settings.Events(labels={"dog": rule})
