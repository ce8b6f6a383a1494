"""`tinyastd listen`: a daemon's messages on a terminal."""

from __future__ import annotations

from typing import Any

from daemon.logs import printable


def line(message: dict[str, Any]) -> str:
    """One message as one line for people."""
    clock = message["published_at"][11:19]
    return f"{clock}  {printable(_words(message))}"


def _words(message: dict[str, Any]) -> str:
    kind = message["type"]
    place = (message.get("source") or {}).get("path") or (message.get("source") or {}).get("name")
    if kind == "prediction":
        window = message["window"]
        verdict = "" if message["reason"] is None else f"  ({message['reason']})"
        span = f"{window['start_s']:g}-{window['end_s']:g} s"
        return f"{message['label']:<18} {message['score']:6.1%}  {place}  {span}{verdict}"
    if kind == "file":
        why = f": {message['error']['text']}" if message["error"] else ""
        return f"{message['state']:<18} {message['windows']} windows  {place}{why}"
    if kind == "status":
        return f"{message['status']:<18} {message['text']}"
    return f"{kind:<18} {place}"
