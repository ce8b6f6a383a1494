"""From the bytes of WAV samples to float32, and checks that every sample has to pass."""

from __future__ import annotations

import operator
from functools import lru_cache

import numpy as np

from tinyast.arrays import Float
from tinyast.audio.wav.header import ALAW, FLOAT, MULAW, PCM, WavHeader
from tinyast.errors import AudioError

MIN_RATE, MAX_RATE = 4_000, 384_000  # Hz
MAX_AMPLITUDE = 1e6  # 120 dB over full scale; float files hold more only by mistake
BLOCK = 1 << 20  # samples decoded at once, of all channels: what bounds the memory used
_INTEGER = {1: ("u1", 128.0), 2: ("i2", 32768.0), 4: ("i4", 2147483648.0)}


def check_rate(rate: int) -> None:
    """Raise AudioError for a rate in Hz that no recorder uses and that a header has by mistake."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(
            "bad_rate", f"its rate is {rate} Hz; from {MIN_RATE} to {MAX_RATE} Hz is accepted"
        )


def whole_rate(rate: object) -> int:
    """A rate in Hz that a caller gives, as an integer. Raises ValueError for anything else."""
    if isinstance(rate, float | np.floating) and float(rate).is_integer():
        return int(rate)
    if not hasattr(rate, "__index__"):
        raise ValueError(f"the rate is a whole number of Hz such as 44100, not {rate!r}")
    return operator.index(rate)


def checked(samples: Float) -> Float:
    """Return `samples`, or raise AudioError if they are not finite or far out of range.

    Call it before mixing channels, because their faults could cancel each other.
    """
    if samples.size == 0:
        return samples
    with np.errstate(invalid="ignore"):  # a signalling NaN, which is refused below
        peak = float(np.maximum(samples.max(), -samples.min()))  # NaN where any sample is
    if not np.isfinite(peak):
        raise AudioError("not_finite", "it holds samples that are not numbers, or infinite")
    if peak > MAX_AMPLITUDE:
        raise AudioError("out_of_range", f"it holds a sample of {peak:.3g}; full scale is 1")
    return samples


def check_encoding(header: WavHeader) -> None:
    """Raise AudioError for samples that `decode` cannot read."""
    supported = {
        PCM: header.bits in range(8, 33),
        FLOAT: header.bits in (32, 64),
        ALAW: header.bits == 8,
        MULAW: header.bits == 8,
    }
    if not supported.get(header.encoding, False):
        raise AudioError(
            "unsupported_encoding",
            f"its samples are format {header.encoding:#06x} with {header.bits} bits. PCM of 8 to "
            "32 bits, float of 32 or 64 bits, A-law and µ-law are read; convert it to one of these",
        )
    least, width = -(-header.bits // 8), _width(header)
    # Sound cards keep 17 to 24 bits in 4 bytes.
    fits = width == least or (header.encoding == PCM and header.bits > 16 and width == 4)
    if header.channels and (not fits or width * header.channels != header.block_align):
        raise AudioError(
            "bad_header",
            f"its header says {header.block_align} bytes a frame for {header.channels} channels "
            f"of {header.bits} bits",
        )


def decode(data: memoryview, header: WavHeader) -> Float:
    """The samples in `data`, (n,) float32, full scale at 1. Raises AudioError."""
    order = ">" if header.big_endian else "<"
    if header.encoding == FLOAT:
        # What no float32 can hold becomes infinite or no number, and is refused.
        with np.errstate(over="ignore", invalid="ignore"):
            return checked(np.frombuffer(data, f"{order}f{header.bits // 8}").astype(np.float32))
    if header.encoding in (ALAW, MULAW):
        values: Float = _companded(header.encoding)[np.frombuffer(data, "u1")]
        return values
    width = _width(header)
    if width == 3:
        return _decode_24(data, header.big_endian)
    # RIFF stores a sample in whole bytes and left-justified, so its bits need no attention.
    kind, scale = _INTEGER[width]
    whole = np.frombuffer(data, kind if kind == "u1" else order + kind)
    # Convert and scale in one pass; integers are always finite and in range.
    samples: Float = np.multiply(whole, np.float32(1 / scale), dtype=np.float32, casting="unsafe")
    if kind == "u1":
        samples -= np.float32(1)
    return samples


def _width(header: WavHeader) -> int:
    """Bytes in one sample of one channel."""
    return header.block_align // header.channels if header.channels else 0


def _decode_24(data: memoryview, big_endian: bool) -> Float:
    # The three bytes go to the top of a 32-bit word, so that the sign comes along.
    triples = np.frombuffer(data, "u1").reshape(-1, 3)
    words = np.zeros((len(triples), 4), dtype="u1")
    words[:, 1:] = triples[:, ::-1] if big_endian else triples
    samples = words.view("<i4")[:, 0].astype(np.float32)
    samples *= np.float32(1 / 2147483648)
    return samples


@lru_cache(maxsize=2)
def _companded(encoding: int) -> Float:
    """The 256 values of A-law or µ-law, (256,) (ITU-T G.711, tables 1 and 2)."""
    codes = np.arange(256)
    codes = codes ^ 0x55 if encoding == ALAW else ~codes & 0xFF
    exponent, mantissa = codes >> 4 & 7, codes & 15
    if encoding == ALAW:
        steps = (2 * mantissa + 33) << np.maximum(exponent - 1, 0)
        size = 8 * np.where(exponent == 0, 2 * mantissa + 1, steps)
        sign = np.where(codes & 0x80, 1, -1)
    else:
        size = ((2 * mantissa + 33 << exponent) - 33) * 4
        sign = np.where(codes & 0x80, -1, 1)
    values: Float = (sign * size / 32768).astype(np.float32)
    return values
