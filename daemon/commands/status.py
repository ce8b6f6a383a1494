"""`tinyastd status`, for people."""

from __future__ import annotations

from collections.abc import Iterator

from daemon.monitoring.logging import printable
from daemon.protocol.states import DaemonStatus, FolderState, MicrophoneState

LEAST_DBFS = -200.0  # of digital zeros, as in messages


def describe(status: DaemonStatus) -> str:
    """Format a daemon's status as lines of text."""
    model, counts = status.model, status.published
    files = ", ".join(f"{counts.get(f'file.{s}', 0)} {s}" for s in ("done", "failed", "incomplete"))
    lines = [
        f"tinyastd {status.version} on {status.node}, process {status.pid}, "
        f"up {_span(status.uptime_s)}",
        f"  model       {model.name} {model.version} ({model.sha256[:12]}, {model.engine})",
        *([f"  engine      {model.engine}: {model.engine_reason}"] if model.engine_reason else []),
        f"  publishing  {status.publish}, replay {status.replay}",
        f"  journal     {status.state}, last seq {max(status.last.values())}",
        f"  this run    {counts.get('prediction', 0)} windows, {files}",
        f"  now         {status.windows_per_second:g} windows/s, "
        f"{status.backlog.files} files waiting or in work",
    ]
    for name, seen in status.connections.items():
        lines.append(f"  {name:<11} {seen['subscribers']} connected, {seen['refused']} refused")
    if status.blocked:
        lines.append(f"  BLOCKED     the journal cannot be written: {status.blocked}")
    for source in status.sources:
        lines += _source(source)
    for helper in status.helpers or ():
        process = "no process" if helper.pid is None else f"process {helper.pid}"
        lines.append(f"  {helper.name:<11} {helper.state}, {process}, {helper.restarts} restarts")
    return "\n".join(lines)


def _source(source: FolderState | MicrophoneState) -> Iterator[str]:
    match source:
        case FolderState():
            yield f"  {source.name:<11} {source.state}, {printable(source.path)}"
        case MicrophoneState():
            device = printable(source.device or "default input")
            yield f"  {source.name:<11} {source.state}, {device}"
            yield f"{'':<14}{level(source.level_dbfs)}, {source.gaps} gaps"
    if source.degraded:
        yield f"{'':<14}degraded: {source.degraded}"
    if isinstance(source, FolderState) and source.files and source.fault:
        yield f"{'':<14}retrying {source.files['retry']} files: {printable(source.fault)}"
    if isinstance(source, FolderState) and source.ignored:
        words = {"suffix": "with a suffix that `formats` does not name"}
        ignored = ", ".join(f"{n} {words.get(w, w)}" for w, n in sorted(source.ignored.items()))
        yield f"{'':<14}ignored: {ignored}"


def level(dbfs: float) -> str:
    """A level for people; exact zeros have the least one that messages allow."""
    return "digital silence" if dbfs <= LEAST_DBFS else f"{dbfs:.1f} dBFS"


def _span(seconds: float) -> str:
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if days >= 2:
        return f"{days:.0f} days"
    if hours >= 2:
        return f"{hours:.0f} hours"
    return f"{minutes:.0f} minutes" if minutes >= 2 else f"{seconds:.0f} s"
