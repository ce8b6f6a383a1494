"""When a recording was made, and what says so."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec import UNSET, UnsetType

from daemon.errors import SettingsError
from daemon.pipeline.recorder import recorder
from daemon.pipeline.recording_time import began, zone
from daemon.protocol.messages import Recorder, timestamp
from daemon.settings.schema import Folder
from tinyast.audio.wav.metadata import NO_METADATA, Metadata

MTIME_NS = 1_700_000_000_500_000_000
NOON = Metadata(bext_date="2024-07-01", bext_time="12:00:00")
UTC_FOLDER = Folder(path="/in")
BERLIN = Folder(path="/in", time_zone="Europe/Berlin")
COMMENT = (
    "Recorded at 05:30:00 01/08/2023 (UTC{}) by AudioMoth 24E1440319055002 at medium gain setting "
    "while battery state was 4.5V and temperature was 16.4C."
)


def at(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type]


def said(
    name: str | bytes, metadata: Metadata = NO_METADATA, folder: Folder = UTC_FOLDER
) -> tuple[float, str]:
    """The time of a 5 s recording of this name, and its source."""
    path = b"/in/" + (name if isinstance(name, bytes) else name.encode())
    found = began(path, MTIME_NS, 5, metadata, folder)
    return found.at, found.clock


def doubt(
    name: str, metadata: Metadata = NO_METADATA, folder: Folder = UTC_FOLDER
) -> tuple[float, str] | None:
    """The source that disagrees, and its time."""
    found = began(f"/in/{name}".encode(), MTIME_NS, 5, metadata, folder).doubt
    return None if found is None else (found.at, found.clock)


# -- the order of belief -------------------------------------------------------------------------


def test_a_bext_chunk_is_believed_before_the_name_and_the_time_of_change() -> None:
    assert said("20230101_000000.wav", NOON) == (at(2024, 7, 1, 12), "bext")


def test_a_name_is_believed_before_the_time_of_change() -> None:
    assert said("20230102_030405.wav") == (at(2023, 1, 2, 3, 4, 5), "name")


def test_a_time_of_change_is_that_of_the_last_sample() -> None:
    assert said("dog.wav") == (1_700_000_000.5 - 5, "mtime")


def test_a_source_that_states_its_zone_is_believed_before_one_that_does_not() -> None:
    both = Metadata(
        bext_date="2024-07-01",
        bext_time="12:00:00",
        guano={"Timestamp": "2024-07-01T12:00:00+02:00"},
    )
    assert said("a.wav", both) == (at(2024, 7, 1, 10), "guano")
    assert doubt("a.wav", both) == (at(2024, 7, 1, 12), "bext")
    assert doubt("a.wav", both, BERLIN) is None
    assert said("20240701T120000Z.wav", NOON, BERLIN) == (at(2024, 7, 1, 12), "name")


# -- names ---------------------------------------------------------------------------------------

NAMES = {
    # AudioMoth, Song Meter, Swift: local time
    "20230801_053000.WAV": "2023-08-01T05:30:00",
    "24E1440319055002_20230801_053000.WAV": "2023-08-01T05:30:00",
    "S4A09132_20230801_053000.wav": "2023-08-01T05:30:00",
    "SMM07061_20230801_053000_001.wav": "2023-08-01T05:30:00",
    "SITE_0+1_20230801$053000.wav": "2023-08-01T05:30:00",
    "REC20121130_20230801_053000.wav": "2023-08-01T05:30:00",
    "1440319055002-20230801-053000.wav": "2023-08-01T05:30:00",
    "20230801053000.wav": "2023-08-01T05:30:00",
    "SMM-7_20230801_053000_x.wav": "2023-08-01T05:30:00",
    "20230801-053000-0001.wav": "2023-08-01T05:30:00",
    "20230801_053000.250.wav": "2023-08-01T05:30:00.250",
    "5CEFA1B8.WAV": "2019-05-30T09:26:16+00:00",
    # Frontier Labs, BirdNET-Go
    "20230801T053000+1000_REC.wav": "2023-08-01T05:30:00+10:00",
    "20230801T053000-0330_REC [-27.1 +153.2].wav": "2023-08-01T05:30:00-03:30",
    "S20230801T053000.5+1000_E20230801T060000+1000.wav": "2023-08-01T05:30:00.500+10:00",
    "robin_20240601T053000Z.wav": "2024-06-01T05:30:00+00:00",
    "20230801_053000+02.wav": "2023-08-01T05:30:00+02:00",
    "20230801_053000_UTC+0530.wav": "2023-08-01T05:30:00+05:30",
    # A zone in words
    "20230801_053000_UTC.wav": "2023-08-01T05:30:00+00:00",
    "20230801T053000UTC.wav": "2023-08-01T05:30:00+00:00",
    "20230801_053000 GMT.wav": "2023-08-01T05:30:00+00:00",
    "2023-08-01_05-30-00_UTC-5.wav": "2023-08-01T05:30:00-05:00",
    "20230801_053000_UTC+10:00.wav": "2023-08-01T05:30:00+10:00",
    "20230801_053000_UTCX.wav": "2023-08-01T05:30:00",
    # A clock of 12 hours; AM1 is a device
    "2023-08-01 05-30-00 PM.wav": "2023-08-01T17:30:00",
    "2023-08-01_12.30.00_am.wav": "2023-08-01T00:30:00",
    "31.08.2023 12.30.00 PM.wav": "2023-08-31T12:30:00",
    "2023-08-01_17-30-00_AM1.wav": "2023-08-01T17:30:00",
    "2023-08-01 17-30-00 PM.wav": "2023-08-01T17:30:00",
    # ffmpeg, ISO 8601, BirdNET-Pi
    "2023-08-01_05-30-00.wav": "2023-08-01T05:30:00",
    "2023-08-01T05:30:00Z.wav": "2023-08-01T05:30:00+00:00",
    "2023-08-01T05-30-00+02:00.wav": "2023-08-01T05:30:00+02:00",
    "2023-08-01T05:30:00.123-05:00.wav": "2023-08-01T05:30:00.123-05:00",
    "2023-08-01 05.30.00.wav": "2023-08-01T05:30:00",
    "2023-08-01-05-30-00.wav": "2023-08-01T05:30:00",
    "2023.08.01_05h30m00s.wav": "2023-08-01T05:30:00",
    "2023-08-01_053000.wav": "2023-08-01T05:30:00",
    "2023-08-01-birdnet-05:30:00.wav": "2023-08-01T05:30:00",
    "2023-08-01-birdnet-RTSP_1-05:30:00.wav": "2023-08-01T05:30:00",
    "Robin-87-2023-08-01-birdnet-05:30:00.mp3": "2023-08-01T05:30:00",
    # Zoom, Tascam; other orders
    "230801_053000.wav": "2023-08-01T05:30:00",
    "230801-053000_Tr1.WAV": "2023-08-01T05:30:00",
    "053000_20230801.wav": "2023-08-01T05:30:00",
    "31.08.2023 05.30.00.wav": "2023-08-31T05:30:00",
    "08-31-2023_053000.wav": "2023-08-31T05:30:00",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_as_recorders_write_them(name: str) -> None:
    wanted = datetime.fromisoformat(NAMES[name])
    local = wanted if wanted.tzinfo else wanted.replace(tzinfo=zone("Europe/Berlin"))
    assert said(name, folder=BERLIN) == (local.timestamp(), "name")
    assert doubt(name, folder=BERLIN) is None


@pytest.mark.parametrize(
    "name",
    ["99999999_999999", "20231301_000000", "20230230_000000", "1-100032-A-0", "12345678_123456",
     "24E1440319055002", "123456_123456", "20123456", "5A000000000", "58684680",
     "00010101_000000", "1-20230801053000123"],
)  # fmt: skip
def test_a_number_that_is_no_time_is_not_taken_for_one(name: str) -> None:
    assert said(f"{name}.wav")[1] == "mtime"
    assert doubt(f"{name}.wav") is None


def test_day_and_month_that_could_be_either_cast_doubt() -> None:
    assert said("01-08-2023_05-30-00.wav") == (at(2023, 8, 1, 5, 30), "name")
    assert doubt("01-08-2023_05-30-00.wav") == (at(2023, 1, 8, 5, 30), "name")


@pytest.mark.parametrize("name", ["230801_0012.wav", "20230801.wav", "dog-2023-08-01.wav"])
def test_a_date_alone_casts_doubt_on_another_day(name: str) -> None:
    assert said(name)[1] == "mtime"
    assert doubt(name) == (at(2023, 8, 1), "name")
    same_day = name.replace("2023-08-01", "2023-11-14").replace("0801", "1114")
    assert doubt(same_day) is None


def test_folders_named_like_times_do_not_count() -> None:
    assert began(b"/20230102_030405/dog.wav", MTIME_NS, 5, NO_METADATA, UTC_FOLDER).clock == "mtime"


def test_a_name_that_is_not_utf_8_is_read_all_the_same() -> None:
    assert said(b"\xff20230102_030405.wav")[1] == "name"


# -- a pattern of one's own ----------------------------------------------------------------------


def test_a_pattern_of_ones_own() -> None:
    folder = Folder(path="/in", time_pattern=r"(?P<d>\d\d)\.(?P<m>\d\d)\.(?P<Y>\d{4})")
    assert said("24.12.2023.wav", folder=folder) == (at(2023, 12, 24), "name")


def test_a_pattern_tries_every_place_and_may_give_an_offset() -> None:
    pattern = r"(?P<Y>\d{4})(?P<m>\d\d)(?P<d>\d\d)T(?P<H>\d\d)(?P<z>[+-]\d\d)?"
    folder = Folder(path="/in", time_pattern=pattern)
    assert said("99999999T05_20230801T05+02.wav", folder=folder) == (at(2023, 8, 1, 3), "name")


def test_no_pattern_means_that_names_say_nothing() -> None:
    assert said("20230102_030405.wav", folder=Folder(path="/in", time_pattern=""))[1] == "mtime"


def test_a_pattern_that_finds_words_is_no_time() -> None:
    folder = Folder(path="/in", time_pattern=r"(?P<d>\d\d)(?P<m>[A-Z]{3})(?P<Y>\d{4})")
    assert said("24DEC2023.wav", folder=folder)[1] == "mtime"


# -- metadata ------------------------------------------------------------------------------------

IXML = (
    "<BWFXML><BEXT><BWF_ORIGINATION_DATE>2023-08-01</BWF_ORIGINATION_DATE>"
    "<BWF_ORIGINATION_TIME>05:30:00</BWF_ORIGINATION_TIME></BEXT></BWFXML>"
)


@pytest.mark.parametrize(
    ("metadata", "clock", "wanted"),
    [
        (Metadata(bext_date="2023-08-01", bext_time="05:30:00"), "bext", "2023-08-01T05:30"),
        (Metadata(guano={"Timestamp": "2023-08-01T05:30:00+02:00"}), "guano", "2023-08-01T03:30Z"),
        (Metadata(guano={"Timestamp": "2023-08-01T05:30:00.5Z"}), "guano", "2023-08-01T05:30Z"),
        (Metadata(guano={"Timestamp": "2023-08-01 05:30:00"}), "guano", "2023-08-01T05:30"),
        (Metadata(wamd={"timestamp": "2023-08-01 05:30:00-05:00"}), "wamd", "2023-08-01T10:30Z"),
        (Metadata(ixml=IXML), "ixml", "2023-08-01T05:30"),
        (Metadata(comment=COMMENT.format("")), "comment", "2023-08-01T05:30Z"),
        (Metadata(comment=COMMENT.format("+2")), "comment", "2023-08-01T03:30Z"),
        (Metadata(comment=COMMENT.format("-3:30")), "comment", "2023-08-01T09:00Z"),
        (Metadata(comment=COMMENT.replace(" (UTC{})", "")), "comment", "2023-08-01T05:30"),
    ],
)  # fmt: skip
def test_every_kind_of_metadata_says_when(metadata: Metadata, clock: str, wanted: str) -> None:
    moment = datetime.fromisoformat(wanted)
    local = moment if moment.tzinfo else moment.replace(tzinfo=zone("Europe/Berlin"))
    assert said("a.wav", metadata, BERLIN) == (local.timestamp(), clock)
    assert doubt("20230801_053000.wav", metadata, BERLIN) in (
        None if local.timestamp() == at(2023, 8, 1, 3, 30) else (at(2023, 8, 1, 3, 30), "name"),
    )


@pytest.mark.parametrize("seconds", [0, 59, 61])
def test_sources_that_differ_by_over_a_minute_are_in_doubt(seconds: int) -> None:
    name = f"20240701_12{seconds // 60:02}{seconds % 60:02}.wav"
    assert (doubt(name, NOON) is not None) == (seconds > 60)


@pytest.mark.parametrize(
    "metadata",
    [
        Metadata(bext_date="2024-13-01", bext_time="00:00:00"),
        Metadata(bext_date="yesterday!", bext_time="noon"),
        Metadata(bext_date="0001-01-01", bext_time="00:00:00"),
        Metadata(guano={"Timestamp": "2023-08-01T05:30:00+99:00"}),
        Metadata(wamd={"timestamp": "9999-99-99 99:99:99"}),
        Metadata(ixml="<BWF_ORIGINATION_DATE>0000-00-00</BWF_ORIGINATION_DATE>"),
        Metadata(comment="Recorded at 25:30:00 01/13/2023 (UTC+99)"),
    ],
)
def test_metadata_that_hold_no_time_are_passed_over(metadata: Metadata) -> None:
    found = said("a.wav", metadata)
    assert found[1] == "mtime" or metadata.guano


def test_times_without_a_zone_are_in_that_of_the_folder() -> None:
    assert said("a.wav", NOON, BERLIN)[0] == at(2024, 7, 1, 10)
    assert said("20240101_120000.wav", folder=BERLIN)[0] == at(2024, 1, 1, 11)
    assert said("a.wav", folder=BERLIN)[0] == 1_700_000_000.5 - 5


@pytest.mark.parametrize("mtime_ns", [-(2**62), 0, 2**62, 2**70, -(2**70)])
@pytest.mark.parametrize("path", [b"/in/a.wav", b"/in/99991231_235959.wav", b"/in/00010101_000000"])
def test_any_time_of_change_can_be_written_in_a_message(mtime_ns: int, path: bytes) -> None:
    start = began(path, mtime_ns, 5, NO_METADATA, BERLIN).at
    assert timestamp(start + 86_400).endswith("Z")


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Europe"])
def test_a_zone_that_nobody_knows_is_an_error(name: str) -> None:
    with pytest.raises(SettingsError, match="time_zone"):
        zone(name)


@pytest.mark.parametrize("name", ["UTC", "utc", "Europe/Berlin"])
def test_known_zones(name: str) -> None:
    assert zone(name)


# -- the recorder --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        (NO_METADATA, UNSET),
        (Metadata(guano={"GUANO|Version": "1.0"}), UNSET),
        (
            Metadata(
                guano={"Make": "Test", "Model": "X1", "Serial": "7",
                       "Loc Position": "32.1878 -86.1057",
                       "Loc Elevation": "120.5", "Temperature Ext": "-3.5", "Temperature Int": "8"}
            ),
            Recorder(device="Test X1", serial="7", latitude=32.1878, longitude=-86.1057,
                     elevation_m=120.5, temperature_c=-3.5),
        ),
        (Metadata(guano={"Loc Position": "132.1 -86.1"}), UNSET),
        (
            Metadata(wamd={"model": "SM4", "serial": "S4A1", "position": "WGS84,32.5,N,86.25,W,30",
                           "temperature_inside": "21.5C"}),
            Recorder(device="SM4", serial="S4A1", latitude=32.5, longitude=-86.25,
                     temperature_c=21.5),
        ),
        (
            Metadata(comment=COMMENT.format("")),
            Recorder(device="AudioMoth", serial="24E1440319055002", temperature_c=16.4),
        ),
    ],
)  # fmt: skip
def test_device_place_and_temperature(metadata: Metadata, wanted: Recorder | UnsetType) -> None:
    assert recorder(metadata) == wanted


def test_texts_and_numbers_of_any_size_fit_into_a_message() -> None:
    """A text is in every prediction of the file, and JSON has no infinity."""
    guano = {
        "Make": "M" * 60_000,
        "Serial": "7" * 60_000,
        "Temperature Ext": "9" * 400,
        "Temperature Int": "21.5",
        "Loc Elevation": "-" + "9" * 400,
        "Loc Position": "9" * 400 + " 5",
    }
    assert recorder(Metadata(guano=guano)) == Recorder(
        device="M" * 100, serial="7" * 100, temperature_c=21.5
    )
