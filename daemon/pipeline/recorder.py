"""What a file says of the device that recorded it, the place and the temperature."""

from __future__ import annotations

import re
from math import isfinite

from msgspec import UNSET, UnsetType

from daemon.protocol.messages import Recorder
from tinyast.audio.wav.metadata import Metadata

_LONGEST = 100  # characters of a text, which every prediction of the file holds
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_AUDIOMOTH = re.compile(r"by (AudioMoth) ([0-9A-F]+)")
_TEMPERATURE = re.compile(r"temperature was (-?\d+(?:\.\d+)?) ?C")


def recorder(metadata: Metadata) -> Recorder | UnsetType:
    """The recorder by the metadata of a file, GUANO first; UNSET if they say nothing of it."""
    guano, wamd = metadata.guano, metadata.wamd
    make = " ".join(filter(None, (guano.get("Make"), guano.get("Model"))))
    audiomoth = _AUDIOMOTH.search(metadata.comment)
    temperature = _TEMPERATURE.search(metadata.comment)
    place = _place(guano.get("Loc Position", "")) or _wamd_place(wamd.get("position", ""))
    found = Recorder(
        device=_text(make, wamd.get("model"), audiomoth[1] if audiomoth else None),
        serial=_text(guano.get("Serial"), wamd.get("serial"), audiomoth[2] if audiomoth else None),
        latitude=place[0] if place else UNSET,
        longitude=place[1] if place else UNSET,
        elevation_m=_number(guano.get("Loc Elevation")),
        temperature_c=_number(
            guano.get("Temperature Ext"),
            guano.get("Temperature Int"),
            wamd.get("temperature_outside"),
            wamd.get("temperature_inside"),
            temperature[1] if temperature else None,
        ),
    )
    return UNSET if found == Recorder() else found


def _text(*texts: str | None) -> str | UnsetType:
    """The first text that says something, or its beginning."""
    return next((text[:_LONGEST] for text in texts if text), UNSET)


def _number(*texts: str | None) -> float | UnsetType:
    """The number at the beginning of the first text that has one that JSON can hold."""
    matches = (_NUMBER.match(text.strip()) for text in texts if text)
    numbers = (float(match[0]) for match in matches if match)
    return next((number for number in numbers if isfinite(number)), UNSET)


def _place(text: str) -> tuple[float, float] | None:
    """`32.1878 -86.1057` as degrees north and east."""
    numbers = [float(number) for number in _NUMBER.findall(text)]
    if len(numbers) != 2 or abs(numbers[0]) > 90 or abs(numbers[1]) > 180:
        return None
    return numbers[0], numbers[1]


def _wamd_place(text: str) -> tuple[float, float] | None:
    """`WGS84,32.1878,N,86.1057,W` as degrees north and east."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) < 5:
        return None
    south, west = parts[2].upper() == "S", parts[4].upper() == "W"
    return _place(f"{'-' * south}{parts[1]} {'-' * west}{parts[3]}")
