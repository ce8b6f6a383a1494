"""Write a head as a checkpoint: with the files of the one that it was learnt from."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tinyast.errors import CheckpointError
from tinyast.inference.checkpoint import CONFIG, SUMS, Checkpoint, sha256, sums_of
from tinyast.inference.head import HEAD, Head

CARD = "README.md"


def check_base(base: Checkpoint) -> None:
    """Raise CheckpointError if nothing can be learnt on top of `base`."""
    if base.head is not None:
        raise CheckpointError(
            f"{base.path} was itself made by `tinyastd learn`; put all kinds into one folder, and "
            "learn them from the checkpoint that it began from, such as esc50"
        )


def check_output(output: Path) -> None:
    """Raise CheckpointError if `output` may not be written: it holds something else."""
    if output.exists() and not output.is_dir():
        raise CheckpointError(f"{output} is a file; name a folder for the checkpoint")
    if output.is_dir() and any(output.iterdir()) and not _is_learnt(output):
        raise CheckpointError(
            f"{output} holds something else than a result of `tinyastd learn`; name a new folder"
        )


def _is_learnt(folder: Path) -> bool:
    """Whether the checkpoint in `folder` is a result of learning."""
    try:
        return "learnt_from" in json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


@contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """Where to make the folder that takes the place of `output`, or of an earlier result there.

    It is beside it, and the two change places at the end, so a daemon never reads half of it. What
    runs that were killed left there is removed. Raises OSError.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".learn-{output.name}-"
    for path in output.parent.iterdir():
        if re.fullmatch(re.escape(prefix) + "[a-z0-9_]{8}", path.name):  # as tempfile names them
            with suppress(OSError), _lock(path):
                shutil.rmtree(path)
    with (
        tempfile.TemporaryDirectory(dir=output.parent, prefix=prefix) as name,
        ExitStack() as stack,
    ):
        with suppress(OSError):  # a file system without locks, where nothing is removed
            stack.enter_context(_lock(Path(name)))
        made = Path(name, output.name)
        yield made
        if output.exists():
            os.replace(output, Path(name, f"{output.name}.old"))
        os.replace(made, output)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Until the end, or that of this process. Raises OSError if another has it."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


def write_checkpoint(base: Checkpoint, head: Head, output: Path, texts: Mapping[str, str]) -> None:
    """Make the folder `output` a checkpoint, in place of an earlier result there.

    `texts` are further files by name. Raises CheckpointError.
    """
    check_base(base)
    check_output(output)
    try:
        with replacing(output) as made:
            _copy(base.path, made)
            head.save(made / HEAD)
            _rename(base, made, output.name)
            for file, text in texts.items():
                (made / file).write_text(text, encoding="utf-8")
            _write_sums(made)
    except OSError as error:
        raise CheckpointError(f"cannot write {output}: {error.strerror or error}") from error


def _copy(base: Path, made: Path) -> None:
    made.mkdir()
    for path in sorted(base.iterdir()):
        if path.is_file() and path.name not in (SUMS, CARD):
            shutil.copyfile(path, made / path.name)


def _rename(base: Checkpoint, made: Path, name: str) -> None:
    """Give it another name and version: a score means something else now."""
    config = json.loads((made / CONFIG).read_text(encoding="utf-8"))
    config["name"], config["learnt_from"] = name, base.model
    config["version"] = f"{base.version}+{sha256(made / HEAD)[:8]}"
    (made / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _write_sums(made: Path) -> None:
    """Of every file that is not text for people."""
    parts = sorted(
        path.name for path in made.iterdir() if path.suffix in (".json", ".npz", ".onnx")
    )
    parts += sorted(path.name for path in made.glob("*.safetensors"))
    (made / SUMS).write_text(sums_of(made, parts), encoding="utf-8")
