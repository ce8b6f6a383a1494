"""Which format a file has, by its content, and words for those that are not read."""

from __future__ import annotations

from collections.abc import Collection

from tinyast.audio.compressed.cut_frame import begins_within_adts
from tinyast.audio.compressed.ffmpeg import DEMUXERS
from tinyast.audio.compressed.mp3 import cut_off
from tinyast.audio.content import Content
from tinyast.audio.wav.header import is_wav, tag_bytes
from tinyast.errors import AudioError

FORMATS = ("wav", "flac", "ogg", "mp3", "opus", "m4a", "aac")
DEFAULT_FORMATS = ("wav",)
_NAMES = {
    "wav": "WAV", "flac": "FLAC", "ogg": "OGG", "mp3": "MP3", "opus": "Opus",
    "m4a": "MPEG-4 audio", "aac": "AAC", "aiff": "AIFF", "caf": "Apple CAF", "au": "Sun AU",
    "w64": "Wave64", "wma": "Windows Media", "matroska": "Matroska or WebM", "amr": "AMR",
    "wavpack": "WavPack", "ape": "Monkey's Audio", "dsd": "DSD", "midi": "MIDI, which holds notes",
}  # fmt: skip
_MAGIC = (
    (b"fLaC", "flac"), (b"OggS", "ogg"), (b"FORM", "aiff"), (b"caff", "caf"), (b".snd", "au"),
    (b"riff\x2e\x91\xcf\x11", "w64"), (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "wma"),
    (b"\x1a\x45\xdf\xa3", "matroska"), (b"#!AMR", "amr"), (b"wvpk", "wavpack"), (b"MAC ", "ape"),
    (b"DSD ", "dsd"), (b"FRM8", "dsd"), (b"MThd", "midi"),
)  # fmt: skip


def sniff(file: Content) -> str | None:
    """The format of a file by its first bytes, read or not; None if it is not known.

    An ID3 tag, which some programs put before any format, is passed over.
    """
    tag = tag_bytes(file)
    head = file.read(36, tag)
    if is_wav(head):
        return "wav"
    if head[:4] == b"OggS" and head[28:36] == b"OpusHead":
        return "opus"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[4:8] == b"ftyp":
        return "m4a"
    if len(head) > 2 and head[0] == 0xFF:
        if head[1] & 0xE6 in (0xE2, 0xE4, 0xE6) and _may_be_frame(head):
            return "mp3"
        if head[1] & 0xF6 == 0xF0:  # the header of ADTS, which has no layer
            return "aac"
    if tag or file.read(3, 0) == b"ID3" or cut_off(file):
        return "mp3"
    return "aac" if begins_within_adts(file) else None


def _may_be_frame(head: bytes) -> bool:
    """Whether a header of MPEG audio is free of the forbidden values that erased memory has.

    UTF-16 text begins as layer I with a checksum would.
    """
    version, bitrate, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and bitrate != 15 and rate != 3 and head[1] != 0xFE


def check_allowed(file: Content, kind: str | None, formats: Collection[str]) -> str:
    """Return `kind` if `formats` allow it.

    Raises AudioError `too_short`, `not_audio` or `format_not_allowed`, which suggests a fix.
    """
    if file.size == 0:
        raise AudioError("too_short", "the file is empty")
    if kind is None:
        raise AudioError("not_audio", _unknown(file))
    if kind in formats or (kind == "opus" and "ogg" in formats):
        return kind
    name = _NAMES[kind]
    if kind in DEMUXERS:
        advice = f"convert it, or install ffmpeg and add {kind} to formats"
    elif kind in FORMATS:
        advice = f"add {kind} to formats, or convert it to {_listed(formats)}"
    else:
        advice = "this format is not read; convert it to WAV or FLAC"
    raise AudioError("format_not_allowed", f"its content is {name}; {advice}")


def _unknown(file: Content) -> str:
    head = file.read(12, 0)
    if head[:4] in (b"RIFF", b"RIFX") and len(head) == 12:
        kind = head[8:12].decode("ascii", "replace").strip()
        return f"its content is RIFF of the type {kind}, not WAVE"
    return "its content is not audio of a known format"


def _listed(formats: Collection[str]) -> str:
    return " or ".join(_NAMES[name] for name in FORMATS if name in formats)
