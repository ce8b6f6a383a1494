"""`tinyastd status`, for people."""

from __future__ import annotations

from typing import Any

from daemon.monitoring.logging import printable


def describe(answer: dict[str, Any]) -> str:
    """Format a daemon's status as lines of text."""
    model, last = answer["model"], answer["last"]
    counts = answer["published"]
    files = ", ".join(f"{counts.get(f'file.{s}', 0)} {s}" for s in ("done", "failed", "incomplete"))
    lines = [
        f"tinyastd {answer['version']} on {answer['node']}, process {answer['pid']}, "
        f"up {_span(answer['uptime_s'])}",
        f"  model       {model['name']} {model['version']} ({model['sha256'][:12]}, "
        f"{model['engine']})",
        f"  publishing  {answer['publish']}, replay {answer['replay']}",
        f"  journal     {answer['state']}, last seq {max(last.values())}",
        f"  this run    {counts.get('prediction', 0)} windows, {files}",
        f"  now         {answer['windows_per_second']:g} windows/s, "
        f"{answer['backlog']['files']} files waiting or in work",
    ]
    for name, who in answer.get("connections", {}).items():
        lines.append(f"  {name:<11} {who['subscribers']} connected, {who['refused']} refused")
    if answer["blocked"]:
        lines.append(f"  BLOCKED     the journal cannot be written: {answer['blocked']}")
    for source in answer["sources"]:
        place = source["path"] or source.get("device") or "default input"
        lines.append(f"  {source['name']:<11} {source['state']}, {printable(place)}")
        if source["kind"] == "mic":
            silent = ", exact zeros" if source["silent"] else ""
            lines.append(f"{'':<14}{source['level_dbfs']:.1f} dBFS{silent}, {source['gaps']} gaps")
        if source["degraded"]:
            lines.append(f"{'':<14}degraded: {source['degraded']}")
        if source.get("fault"):
            retried = source["files"]["retry"]
            lines.append(f"{'':<14}retrying {retried} files: {printable(source['fault'])}")
        if source.get("ignored"):
            ignored = ", ".join(f"{n} {why}" for why, n in sorted(source["ignored"].items()))
            lines.append(f"{'':<14}ignored: {ignored}")
    return "\n".join(lines)


def _span(seconds: float) -> str:
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if days >= 2:
        return f"{days:.0f} days"
    if hours >= 2:
        return f"{hours:.0f} hours"
    return f"{minutes:.0f} minutes" if minutes >= 2 else f"{seconds:.0f} s"
