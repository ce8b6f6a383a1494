"""A job: everything that shapes its table. A restart must be the same job."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

import tinyast
from daemon.cluster.entries import is_remote
from daemon.cluster.plan import FOLDER, Partition
from daemon.cluster.splitting import Cut
from daemon.cluster.storage import Place, place
from daemon.commands.batch.classify import Batch
from daemon.errors import SettingsError
from daemon.settings.schema import Decision, Folder, Privacy, Settings
from tinyast.errors import CheckpointError

NAME = f"{FOLDER}/job.json"


class JobIdentity(Struct, frozen=True, kw_only=True):
    """Two calls that write to one output must agree in all of this."""

    sources: tuple[str, ...]
    partition: Partition
    embeddings: bool
    model: str
    model_sha256: str
    engine: str
    hop: float  # s
    max_duration: float  # s
    decision: Decision
    privacy: Privacy
    folder: Folder  # how files are read


class Job(Struct, frozen=True, kw_only=True):
    """A job as machines of a cluster get it, as JSON."""

    settings: Settings  # its engine is not "auto"
    identity: JobIdentity
    output: str  # address, with the options of its store
    version: str = tinyast.__version__

    def load(self) -> Batch:
        """The model. Raises CheckpointError, SettingsError if this machine has another one."""
        if tinyast.__version__ != self.version:
            raise SettingsError(
                f"a machine of the cluster has tinyast {tinyast.__version__}, the caller has "
                f"{self.version}: install the same version on all"
            )
        batch = Batch.load(self.settings, self.identity.folder, self.identity.embeddings)
        if batch.classifier.engine.sha256 != self.identity.model_sha256:
            path = batch.classifier.checkpoint.path
            raise CheckpointError(f"{path} holds another model on a machine of the cluster")
        return batch

    def cut(self, batch: Batch) -> Cut:
        """How long recordings are cut."""
        rules = batch.rules
        return Cut(batch.classifier.checkpoint.features.window_s, rules.hop_s, rules.max_duration_s)

    def address(self, path: bytes) -> str:
        """The address of an entry, with the options that a source of its bucket has."""
        text = path.decode(errors="surrogateescape")
        if is_remote(text):
            bucket = _bucket(text)
            for source in self.identity.sources:
                options = source.partition("?")[2]
                if options and is_remote(source) and _bucket(source) == bucket:
                    return f"{text}?{options}"
        return text

    @property
    def place(self) -> Place:
        return place(self.output)


def _bucket(address: str) -> str:
    return "/".join(address.partition("?")[0].split("/")[:3])


def claim(job: Job, overwrite: bool) -> bool:
    """Make the output this job's; whether the job was begun before.

    Raises SettingsError if the output holds something else.
    """
    output = job.place
    before = None if overwrite else output.read(NAME)
    wanted = msgspec.json.format(msgspec.json.encode(job.identity))
    if before is None:
        _check_empty(output, overwrite)
        output.write(NAME, wanted)
        return False
    try:
        differing = _differing(msgspec.json.decode(before, type=JobIdentity), job.identity)
    except msgspec.DecodeError as error:
        raise SettingsError(f"{output.at(NAME)} is damaged ({error}); use --overwrite") from error
    if differing:
        raise SettingsError(
            f"{output} holds the table of another job, which differs in {', '.join(differing)}; "
            "name another folder with --output, or use --overwrite"
        )
    return True


def _check_empty(output: Place, overwrite: bool) -> None:
    from pyarrow.fs import FileSelector

    found = output.files.get_file_info(FileSelector(output.path, allow_not_found=True))
    if found and not overwrite:
        raise SettingsError(
            f"{output} is not empty, and holds no table of such a job: name another folder with "
            "--output"
        )
    for info in found:
        _delete(output, info.path, info.is_file)


def _delete(output: Place, path: str, is_file: bool) -> None:
    name = path.rsplit("/", 1)[-1]
    # Only a job's own files: a mistaken --overwrite must not empty a folder of recordings.
    if name != FOLDER and not name.startswith(("part-", "date=", "folder=")):
        raise SettingsError(f"{output} holds {name}, which no such job wrote; nothing more deleted")
    if is_file:
        output.files.delete_file(path)
    else:
        output.files.delete_dir(path)


def _differing(one: JobIdentity, other: JobIdentity) -> list[str]:
    names: Mapping[str, str] = {"sources": "SOURCE", "model_sha256": "the model's file"}
    return [
        names.get(field, field)
        for field in JobIdentity.__struct_fields__
        if getattr(one, field) != getattr(other, field)
    ]
