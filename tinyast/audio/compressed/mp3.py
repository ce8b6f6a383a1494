"""How much sound an MP3 file holds, by its frames: decoders guess, or believe its first frame.

ISO/IEC 11172-3, 2.4.1.3 and 2.4.2.3; ISO/IEC 13818-3 for the lower rates. The first frame may be a
`Xing`, `Info` or `VBRI` frame, which has no sound and counts the others.
"""

from __future__ import annotations

from msgspec import Struct

from tinyast.audio.compressed.cut_frame import first_whole
from tinyast.audio.content import Content
from tinyast.audio.wav.header import tag_bytes

# kbit/s of layer III by index, for MPEG 1 and for MPEG 2 and 2.5; 0: free, or forbidden.
_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_BLOCK = 1 << 20  # bytes read at a time
_LONGEST = 1_441  # bytes of a frame


class Frames(Struct, frozen=True):
    """The frames of a file, without the one that counts them."""

    samples: int  # of each channel
    sound: int  # byte offset of the first frame with sound
    counted: bool  # whether a frame counts the others


def measure(file: Content) -> Frames | None:
    """Walk over the frames of layer III; None if the file does not begin with one."""
    begin = tag_bytes(file) or cut_off(file)
    first = file.read(4, begin)
    found = _frame(first, 0)
    if found is None:
        return None
    length, samples = found
    counted = _counts(file.read(length, begin))
    sound = begin + length if counted else begin
    return Frames(samples * _walk(file, sound), sound, counted)


def cut_off(file: Content) -> int:
    """Bytes of a cut frame before the first whole one, as recordings of streams begin; else 0."""
    return 0 if tag_bytes(file) else first_whole(file, _LONGEST, _length)


def _length(data: bytes, at: int) -> int:
    return (_frame(data, at) or (0, 0))[0]


def _walk(file: Content, at: int) -> int:
    """The number of frames from byte `at` on; what lies between them is passed over."""
    count, block, start = 0, b"", at
    while True:
        if at + 4 > start + len(block):
            start, block = at, file.read(_BLOCK, at)
            if len(block) < 4:
                return count
        found = _frame(block, at - start)
        if found is not None and at + found[0] <= file.size:
            count, at = count + 1, at + found[0]
            continue
        following = block.find(b"\xff", at - start + 1)
        at = start + (len(block) if following < 0 else following)


def _frame(data: bytes, at: int) -> tuple[int, int] | None:
    """Bytes and samples of the frame whose header begins at `at`; None without one."""
    if len(data) < at + 4 or data[at] != 0xFF or data[at + 1] & 0xE6 != 0xE2:
        return None
    version, rate, hz = data[at + 1] >> 3 & 3, data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or hz == 3:
        return None
    kbits = (_RATES_1 if version == 3 else _RATES_2)[rate]
    if not kbits:
        return None
    samples = 1_152 if version == 3 else 576
    return samples // 8 * kbits * 1_000 // _HZ[version][hz] + (data[at + 2] >> 1 & 1), samples


def _counts(frame: bytes) -> bool:
    """Whether a frame counts the others instead of holding sound."""
    mono, first = frame[3] >> 6 == 3, frame[1] >> 3 & 3 == 3
    side = (17 if mono else 32) if first else (9 if mono else 17)
    return frame[4 + side : 8 + side] in (b"Xing", b"Info") or frame[36:40] == b"VBRI"
