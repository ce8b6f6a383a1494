"""Read a checkpoint folder: the parts that classification needs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from msgspec import Struct

from tinyast.errors import CheckpointError
from tinyast.features.log_mel import SCALES, FeatureSettings
from tinyast.inference.head import HEAD, Head, read_head

CONFIG, FEATURES, SUMS = "config.json", "preprocessor_config.json", "SHA256SUMS"
DEFAULT = "esc50"  # of the shipped checkpoints
GRAPH, INT8_GRAPH, WEIGHTS = "model.onnx", "model.int8.onnx", "model.safetensors"
REFERENCE = "reference.npz"  # what the graph gives for some of its training clips
# Files that take long to digest. Few are used at a time; `Checkpoint.checked` checks those.
LARGE = GRAPH, INT8_GRAPH, WEIGHTS, REFERENCE


class Checkpoint(Struct, frozen=True):
    """A trained model on disk."""

    path: Path
    name: str
    version: str
    labels: tuple[str, ...]  # in the order of the logits
    features: FeatureSettings
    int8_points_lost: float | None = None  # of accuracy, against float32; None if not measured
    unknown_below: float | None = None  # `familiarity` below which a sound is unknown
    head: Head | None = None  # for kinds that it was taught later
    graph_labels: tuple[str, ...] = ()  # the kinds of its graph, without those

    @property
    def model(self) -> str:
        """Name and version, which together say what a score means."""
        return f"{self.name} {self.version}"

    @property
    def thresholds(self) -> dict[str, float]:
        """The least scores of kinds for which the checkpoint itself chose one."""
        if self.head is None:
            return {}
        pairs = zip(self.head.kinds, self.head.thresholds.tolist(), strict=True)
        return {kind: round(value, 2) for kind, value in pairs if not math.isnan(value)}

    def file(self, name: str) -> Path:
        """The path of one of its files. Raises CheckpointError if it is missing."""
        path = self.path / name
        if not path.is_file():
            how = " --int8 DATA" if name == INT8_GRAPH else ""
            raise CheckpointError(
                f"{self.path} has no {name}; export the checkpoint again with "
                f"`python -m scripts.export{how}`"
            )
        return path

    def checked(self, name: str) -> str:
        """The SHA-256 of one of its files.

        Raises CheckpointError if the file is missing or has another content than SHA256SUMS says.
        """
        digest = sha256(self.file(name))
        if _listed(self.path).get(name, digest) != digest:
            raise _changed(self.path, [name])
        return digest

    def listed(self, name: str) -> str:
        """The SHA-256 that SHA256SUMS gives for a file; that of its content if it gives none."""
        return _listed(self.path).get(name) or sha256(self.file(name))


def shipped() -> dict[str, Path]:
    """The checkpoints that come with the package, by name."""
    folder = Path(str(resources.files("tinyast"))) / "checkpoints"
    return {path.name: path for path in sorted(folder.iterdir()) if (path / CONFIG).is_file()}


def default_path() -> Path:
    """The shipped checkpoint that is used if none is named."""
    return shipped()[DEFAULT]


def find_checkpoint(given: Path | str | None = None) -> Path:
    """The folder of a checkpoint: `given` is a folder, a shipped one's name, or None.

    A folder comes before a name. Raises CheckpointError if `given` is neither.
    """
    named = shipped()
    if given is None:
        return named[DEFAULT]
    folder = Path(given)
    if folder.is_dir() or str(given) not in named:
        if not folder.is_dir():
            raise CheckpointError(
                f"{given} is neither a checkpoint folder nor one of the shipped checkpoints "
                f"({', '.join(named)}); correct --checkpoint or the setting `checkpoint`"
            )
        return folder
    return named[str(given)]


def files_of(given: Path | str | None = None) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of each file of a checkpoint: other ones mean another model.

    Empty if there is none, or it cannot be read.
    """
    try:
        paths = sorted(find_checkpoint(given).iterdir())
        stats = [(path, path.stat()) for path in paths]
    except (OSError, CheckpointError):
        return ()
    return tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def read_checkpoint(given: Path | str | None = None) -> Checkpoint:
    """Read the checkpoint that `find_checkpoint` finds. Raises CheckpointError."""
    folder = find_checkpoint(given)
    config, features = _read_json(folder, CONFIG), _read_json(folder, FEATURES)
    try:
        by_index = {int(index): str(label) for index, label in config["id2label"].items()}
        labels = tuple(by_index[index] for index in range(len(by_index)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / CONFIG} is not a TinyAST configuration: {error}"
        ) from error
    settings = FeatureSettings.from_dict(features)
    if settings.scale not in SCALES:
        raise CheckpointError(
            f"{folder / FEATURES}: `scale` is {settings.scale!r}; this version of tinyast knows "
            f"{' and '.join(SCALES)}"
        )
    for key, value in settings.to_dict().items():
        usual = getattr(FeatureSettings, key)
        if isinstance(usual, str):
            if not isinstance(value, str):
                raise CheckpointError(f"{folder / FEATURES}: `{key}` is {value!r}, not a word")
        elif type(value) not in (int, float) or not (value > 0 or value == usual):
            raise CheckpointError(f"{folder / FEATURES}: `{key}` is {value!r}, not a number over 0")
    made = settings.n_mels, settings.n_frames
    taken = config.get("n_mels", made[0]), config.get("n_frames", made[1])
    if made != taken:
        raise CheckpointError(
            f"{folder}: the model takes pictures of {taken[0]} x {taken[1]}, and {FEATURES} makes "
            f"them {made[0]} x {made[1]}. It was made by another version of tinyast: train and "
            "export it again"
        )
    head = read_head(folder / HEAD) if (folder / HEAD).is_file() else None
    return Checkpoint(
        path=folder,
        name=str(config.get("name", folder.name)),
        version=str(config.get("version", "0")),
        labels=labels if head is None else head.labels(labels),
        features=settings,
        int8_points_lost=_number(folder, config, "int8_points_lost"),
        unknown_below=_number(folder, config, "unknown_below"),
        head=head,
        graph_labels=labels,
    )


def _number(folder: Path, config: dict[str, object], key: str) -> float | None:
    value = config.get(key)
    if value is None:
        return None
    if type(value) not in (int, float):
        raise CheckpointError(f"{folder / CONFIG}: `{key}` is {value!r}, not a number")
    return float(value)  # type: ignore[arg-type]


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        values = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} is not a checkpoint: it has no {name}. Name a folder made by "
            "`python -m scripts.export`"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{folder / name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(
            f"{folder / name} cannot be read ({error}); copy or export the checkpoint again"
        ) from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{folder / name} is not a JSON object")
    return values


def sha256(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sums_of(folder: Path, names: Iterable[str]) -> str:
    """The lines of SHA256SUMS for these files, as `sha256sum -c` reads them."""
    return "".join(f"{sha256(folder / name)}  {name}\n" for name in names)


def check_sums(folder: Path) -> None:
    """Raise CheckpointError if a file has another content than SHA256SUMS, if there is one, says.

    A file that is missing is not missed until something needs it, and a `LARGE` one is checked
    when something does.
    """
    small = {name: digest for name, digest in _listed(folder).items() if name not in LARGE}
    if damaged := [name for name in _wrong(folder, small) if (folder / name).exists()]:
        raise _changed(folder, damaged)


def damaged_files(folder: Path) -> list[str]:
    """Files in SHA256SUMS that are missing or have other content.

    Raises CheckpointError if the folder has no SHA256SUMS.
    """
    if not (folder / SUMS).exists():
        raise CheckpointError(f"{folder} has no {SUMS}")
    return _wrong(folder, _listed(folder))


def _wrong(folder: Path, listed: Mapping[str, str]) -> list[str]:
    """Names of files that are missing or do not have the SHA-256 `listed` for them."""
    paths = ((name, folder / name, digest) for name, digest in listed.items())
    return [name for name, path, digest in paths if not path.is_file() or sha256(path) != digest]


def _listed(folder: Path) -> dict[str, str]:
    """The SHA-256 of files by name, as SHA256SUMS lists them; empty without one.

    Raises CheckpointError if it cannot be read.
    """
    try:
        text = (folder / SUMS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} has no readable {SUMS}: {error}") from error
    pairs = (line.partition("  ") for line in text.splitlines())
    return {name: digest for digest, _, name in pairs}


def _changed(folder: Path, names: list[str]) -> CheckpointError:
    return CheckpointError(
        f"{folder}: {', '.join(names)} differs from {SUMS}: the files are damaged or were "
        "changed; copy the checkpoint again, or export it again"
    )
