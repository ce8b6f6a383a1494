"""Which messages `tinyastd listen` prints, and as which lines."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace
from running import tinyastd
from saying import SOURCE, predictions

from daemon.commands.listen import Lines
from daemon.commands.listen_filter import (
    FILES,
    ByFile,
    Wanted,
    check_topic,
    read_moment,
)
from daemon.errors import SettingsError
from daemon.protocol.messages import Message, file_end

DOG, ANOTHER_DOG = predictions(2)
CAT, *_ = predictions(1, label="cat")
UNSURE = replace(DOG, decision="rejected", reason="below_threshold", threshold=0.75, score=0.6)
END = file_end(SOURCE, DOG.file_id or "", "done", 2)


def lines_of(messages: list[Message], wanted: Wanted, by_file: bool = False) -> list[str]:
    lines = Lines(wanted, by_file)
    timed = [replace(each, published_at="2026-01-01T12:00:00.000Z") for each in messages]
    found = [lines.of(each) for each in timed]
    return [" ".join(each.split()[2:]) for each in found if each is not None]


def test_a_label_that_is_not_sure_enough_says_below_which_score() -> None:
    (said,) = lines_of([UNSURE], Wanted())
    assert said == "dog 60.0% /sounds/in/one.wav 0-5 s (not sure enough: below 75 %)"


def test_only_these_labels_and_only_what_was_accepted() -> None:
    everything: list[Message] = [DOG, CAT, UNSURE, END]
    assert len(lines_of(everything, Wanted())) == 4
    assert [each[:4] for each in lines_of(everything, Wanted(accepted=True))] == [
        "dog ", "cat ", "done"
    ]  # fmt: skip
    (cat,) = lines_of(everything, Wanted(frozenset({"cat"})))
    assert cat.startswith("cat ")
    assert lines_of([UNSURE, END], Wanted(frozenset({"dog"}), accepted=True)) == []


def test_one_line_a_file() -> None:
    everything: list[Message] = [DOG, UNSURE, replace(CAT, file_id=DOG.file_id), DOG, END]
    assert lines_of(everything, Wanted(), by_file=True) == [
        "done 2 windows /sounds/in/one.wav dog 2, cat 1"
    ]
    assert lines_of([UNSURE, UNSURE, END], Wanted(), by_file=True) == [
        "done 2 windows /sounds/in/one.wav no label accepted"
    ]
    assert lines_of([UNSURE, END], Wanted(), by_file=True) == [  # listening began amid the file
        "done 2 windows /sounds/in/one.wav no label accepted (1 window not seen)"
    ]
    assert lines_of(everything, Wanted(frozenset({"rooster"})), by_file=True) == []
    assert lines_of(everything, Wanted(frozenset({"cat"})), by_file=True) == [
        "done 2 windows /sounds/in/one.wav cat 1"
    ]


def test_files_without_an_end_are_forgotten() -> None:
    files = ByFile(Wanted())
    for each in predictions(FILES + 10):
        assert files.take(each) is None
    assert len(files._labels) == FILES


@pytest.mark.parametrize(
    "topic", ["tinyast.v1.", "tinyast", "", "tinyast.v1.prediction.mic", "tinyast.v1.ev"]
)
def test_topics_that_can_come(topic: str) -> None:
    check_topic(topic)


@pytest.mark.parametrize(
    ("topic", "part"),
    [
        ("dog", "--label dog"),
        ("tinyast.v1.dog", "tinyast.v1.prediction."),
        ("tinyast.v1.heartbeat", "not journalled"),
        ("tinyast.v2.", "tinyast.v1.event."),
    ],
)
def test_a_topic_that_would_be_silent_for_ever(topic: str, part: str) -> None:
    with pytest.raises(SettingsError, match=f"--topic {topic}: ") as error:
        check_topic(topic)
    assert part in str(error.value)


def test_the_command_refuses_it_before_it_waits() -> None:
    done = tinyastd("listen", "--topic", "dog")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "--label dog" in line


def test_a_label_that_the_model_lacks() -> None:
    done = tinyastd("listen", "--label", "dgo", "--label", "dog", "--since-time", "never")
    warning, error = done.stderr.splitlines()
    assert warning == "`--label` names `dgo`, which the model does not know; did you mean `dog`?"
    assert "--since-time" in error


NOON = datetime(2026, 11, 29, 12, 0, 0).timestamp()  # local


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", 90), ("1.5 h", 5_400), ("3d", 3 * 86_400), ("11:30", 1_800), ("9:00:10", 10_790),
        ("13:00", 23 * 3_600), ("2026-11-29 11:00", 3_600), ("2026-11-29", 12 * 3_600),
        ("2026-11-29T11:59", 60),
    ],
)  # fmt: skip
def test_a_time_as_people_write_it(text: str, ago: float) -> None:
    assert NOON - read_moment(text, NOON) == ago


def test_a_time_with_its_offset() -> None:
    assert (
        read_moment("2026-11-29T12:00:00Z", NOON)
        == datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()
    )


@pytest.mark.parametrize("text", ["", "noon", "25:00", "2h ago", "12", "2026-13-01", "14:30 PM"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(SettingsError, match="how long ago: 90s") as error:
        read_moment(text, NOON)
    assert "\n" not in str(error.value)


def test_only_one_beginning() -> None:
    done = tinyastd("listen", "--since", 1, "--since-time", "2h")
    assert (done.returncode, "give one of them" in done.stderr) == (2, True)
