"""When a recording was made, and what says so."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from daemon.errors import SettingsError
from daemon.pipeline.recording_time import began, zone
from daemon.protocol.messages import timestamp
from daemon.settings.schema import Folder
from tinyast.audio.wav_header import Bext

MTIME_NS = 1_700_000_000_500_000_000
NOON = Bext("2024-07-01", "12:00:00")
UTC_FOLDER = Folder(path="/in")
BERLIN = Folder(path="/in", time_zone="Europe/Berlin")


def at(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type]


def test_a_bext_chunk_is_believed_before_the_name_and_the_time_of_change() -> None:
    name = b"/in/20230101_000000.wav"
    assert began(name, MTIME_NS, 5, NOON, UTC_FOLDER) == (at(2024, 7, 1, 12), "bext")


def test_a_name_is_believed_before_the_time_of_change() -> None:
    found = began(b"/in/20230102_030405.wav", MTIME_NS, 5, None, UTC_FOLDER)
    assert found == (at(2023, 1, 2, 3, 4, 5), "name")


def test_a_time_of_change_is_that_of_the_last_sample() -> None:
    found = began(b"/in/dog.wav", MTIME_NS, 5, None, UTC_FOLDER)
    assert found == (1_700_000_000.5 - 5, "mtime")


@pytest.mark.parametrize(
    "name",
    ["20230102_030405", "20230102-030405", "20230102T030405", "20230102030405",
     "SMM-7_20230102_030405_x"],
)  # fmt: skip
def test_names_as_recorders_write_them(name: str) -> None:
    path = f"/in/{name}.wav".encode()
    assert began(path, MTIME_NS, 5, None, UTC_FOLDER) == (at(2023, 1, 2, 3, 4, 5), "name")


@pytest.mark.parametrize(
    "name", ["99999999_999999", "20231301_000000", "20230230_000000", "1-100032-A-0", "20230101"]
)
def test_a_number_that_is_no_time_is_not_taken_for_one(name: str) -> None:
    assert began(f"/in/{name}.wav".encode(), MTIME_NS, 5, None, UTC_FOLDER)[1] == "mtime"


def test_folders_named_like_times_do_not_count() -> None:
    assert began(b"/20230102_030405/dog.wav", MTIME_NS, 5, None, UTC_FOLDER)[1] == "mtime"


def test_a_pattern_of_ones_own() -> None:
    folder = Folder(path="/in", time_pattern=r"(?P<d>\d\d)\.(?P<m>\d\d)\.(?P<Y>\d{4})")
    assert began(b"/in/24.12.2023.wav", MTIME_NS, 5, None, folder) == (at(2023, 12, 24), "name")


def test_no_pattern_means_that_names_say_nothing() -> None:
    folder = Folder(path="/in", time_pattern="")
    assert began(b"/in/20230102_030405.wav", MTIME_NS, 5, None, folder)[1] == "mtime"


def test_a_pattern_that_finds_words_is_no_time() -> None:
    folder = Folder(path="/in", time_pattern=r"(?P<d>\d\d)(?P<m>[A-Z]{3})(?P<Y>\d{4})")
    assert began(b"/in/24DEC2023.wav", MTIME_NS, 5, None, folder)[1] == "mtime"


def test_times_without_a_zone_are_in_that_of_the_folder() -> None:
    assert began(b"/in/a.wav", MTIME_NS, 5, NOON, BERLIN)[0] == at(2024, 7, 1, 10)
    assert began(b"/in/20240101_120000.wav", MTIME_NS, 5, None, BERLIN)[0] == at(2024, 1, 1, 11)
    assert began(b"/in/a.wav", MTIME_NS, 5, None, BERLIN)[0] == 1_700_000_000.5 - 5


@pytest.mark.parametrize(
    "bext",
    [
        Bext("2024-13-01", "00:00:00"),
        Bext("yesterday!", "noon"),
        Bext("0001-01-01", "00:00:00"),
    ],
)
def test_a_bext_chunk_that_holds_no_time_is_passed_over(bext: Bext) -> None:
    assert began(b"/in/a.wav", MTIME_NS, 5, bext, UTC_FOLDER)[1] == "mtime"


@pytest.mark.parametrize("mtime_ns", [-(2**62), 0, 2**62, 2**70, -(2**70)])
@pytest.mark.parametrize("path", [b"/in/a.wav", b"/in/99991231_235959.wav", b"/in/00010101_000000"])
def test_any_time_of_change_can_be_written_in_a_message(mtime_ns: int, path: bytes) -> None:
    start, _ = began(path, mtime_ns, 5, None, BERLIN)
    assert timestamp(start + 86_400).endswith("Z")


def test_a_name_that_is_not_utf_8_is_read_all_the_same() -> None:
    assert began(b"/in/\xff20230102_030405.wav", MTIME_NS, 5, None, UTC_FOLDER)[1] == "name"


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Europe"])
def test_a_zone_that_nobody_knows_is_an_error(name: str) -> None:
    with pytest.raises(SettingsError, match="time_zone"):
        zone(name)


@pytest.mark.parametrize("name", ["UTC", "utc", "Europe/Berlin"])
def test_known_zones(name: str) -> None:
    assert zone(name)
