"""Home Assistant's MQTT integration without the rest of it, as a program.

    python home_assistant.py FOLDER BROKER

It runs in an environment that has the package `homeassistant`. BROKER is the entry's data as JSON.
For each line on standard input it prints all states as one line of JSON, and its log
at the end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace

# isort: off
from homeassistant.core import CoreState, HomeAssistant  # first: its modules import each other
from homeassistant import loader
from homeassistant.config_entries import ConfigEntries, ConfigEntry
from homeassistant.helpers import (
    area_registry,
    device_registry,
    entity,
    entity_registry,
    issue_registry,
    restore_state,
    template,
    translation,
)
# isort: on

problems: list[str] = []


class Problems(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]!r}"
        problems.append(f"{record.name}: {text}")


async def main(folder: str, data: dict[str, object]) -> None:
    logging.getLogger("homeassistant").addHandler(Problems(logging.WARNING))
    (Path(folder) / "configuration.yaml").touch()
    hass = HomeAssistant(folder)
    loader.async_setup(hass)
    entity.async_setup(hass)
    translation.async_setup(hass)
    template.async_setup(hass)
    hass.config.skip_pip = True
    hass.config.internal_url = "http://127.0.0.1:8123"
    hass.config.components |= {"http", "file_upload"}  # it needs neither for what happens here
    hass.http = SimpleNamespace(register_view=lambda view: None)  # browsers do not look here
    for registry in (area_registry, device_registry, entity_registry, issue_registry):
        await registry.async_load(hass)
    await restore_state.async_load(hass)
    hass.config_entries = ConfigEntries(hass, {})
    await hass.config_entries.async_initialize()
    hass.set_state(CoreState.running)
    entry = ConfigEntry(
        version=1, minor_version=1, domain="mqtt", title="broker", data=data, source="user",
        options={}, entry_id="broker",
    )  # fmt: skip
    await hass.config_entries.async_add(entry)
    await hass.async_block_till_done()
    print(json.dumps({"state": entry.state.value}), flush=True)
    lines = asyncio.get_running_loop()
    while await lines.run_in_executor(None, sys.stdin.readline):
        await hass.async_block_till_done()
        states = {each.entity_id: each.as_dict() for each in hass.states.async_all()}
        devices = device_registry.async_get(hass).devices.values()
        names = sorted(str(device.name) for device in devices)
        images = {}
        if (component := hass.data.get("image")) is not None:
            for each in component.entities:
                content = await each.async_image()
                images[each.entity_id] = b64encode(content).decode() if content else None
        answer = {"states": states, "devices": names, "images": images}
        print(json.dumps(answer, default=str), flush=True)
    await hass.config_entries.async_unload(entry.entry_id)
    print(json.dumps({"problems": problems}), flush=True)
    await hass.async_stop(force=True)


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
