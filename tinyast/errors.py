"""Every error this package raises on purpose. Nothing here imports anything."""

from __future__ import annotations


class TinyASTError(Exception):
    """Base class: the text names the fault, its place and the remedy."""


class CodedError(Exception):
    """`code` is a short stable word for programs, `str(error)` a sentence for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class AudioError(CodedError, TinyASTError):
    """Sound that cannot be classified. docs/messages.md lists the codes."""


class CheckpointError(TinyASTError):
    """A checkpoint folder that is missing, incomplete or does not fit this version."""


class DataError(TinyASTError):
    """A data set that cannot be trained or evaluated on."""
