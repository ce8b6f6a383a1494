"""Start the daemon in a Home Assistant add-on: its options become settings.

The supervisor writes the options to /data/options.json, keeps /data, and says at
http://supervisor/services/mqtt where the broker is.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

ASK_S = 10.0
BROKER = "http://supervisor/services/mqtt"


def broker() -> dict[str, object]:
    """Host, port, username and password of the broker; empty without one."""
    token = os.environ.get("SUPERVISOR_TOKEN", "")
    request = urllib.request.Request(BROKER, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=ASK_S) as answer:
            found: dict[str, object] = json.load(answer)["data"]
            return found
    except (urllib.error.URLError, OSError, KeyError, ValueError) as error:
        print(f"no MQTT broker: {error}", file=sys.stderr)
        return {}


def toml(value: object) -> str:
    """A string, number, flag or list as TOML: JSON, but no pairs of surrogates, and no bare DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def watched(folder: str) -> str:
    """The folder of the options, which may be named from /media on."""
    return os.path.join("/media", folder)


def settings(options: dict[str, object], mqtt: dict[str, object], data: Path) -> str:
    """The daemon's settings, as TOML."""
    lines: list[str] = []
    if folder := options.get("folder"):
        lines += ["[[folder]]", f"path = {toml(watched(str(folder)))}", "recursive = true"]
    else:
        lines += ["folder = []"]
    if options.get("microphone"):
        lines += ["[[microphone]]", 'name = "mic"']
    if password := options.get("password"):
        secret = data / "password"
        secret.touch(0o600)
        secret.write_text(f"{password}\n", encoding="utf-8")
        lines += ["[page]", 'host = "0.0.0.0"', f"password_file = {toml(str(secret))}"]
    if mqtt:
        lines += ["[mqtt]", f"host = {toml(mqtt['host'])}", f"port = {mqtt['port']}"]
        lines += [f"user = {toml(mqtt.get('username') or '')}"]
        lines += [f"password = {toml(mqtt.get('password') or '')}"]
        lines += [f"tls = {toml(bool(mqtt.get('ssl')))}"]
        lines += ["[mqtt.home_assistant]", f"labels = {toml(options.get('labels') or [])}"]
    return "\n".join(lines) + "\n"


def main(data: Path = Path("/data")) -> None:
    options = json.loads((data / "options.json").read_text(encoding="utf-8"))
    config = data / "tinyast.toml"
    config.touch(0o600)
    config.write_text(settings(options, broker(), data), encoding="utf-8")
    # The image's TINYAST_STATE, which belongs to another user, overrides a setting.
    words = ["-m", "daemon", "run", "--config", str(config), "--state", str(data / "state")]
    os.execv(sys.executable, [sys.executable, "-P", *words])


if __name__ == "__main__":
    main()
