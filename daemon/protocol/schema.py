"""The message contract as a JSON Schema (2020-12), made from the types of messages.

python -m daemon.protocol.schema > docs/messages.schema.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import fields

from daemon.protocol.decoding import KINDS
from daemon.protocol.messages import (
    PLACE,
    SCHEMA,
    ClockDoubt,
    Error,
    Model,
    Prediction,
    Recorder,
    Source,
    Window,
)
from daemon.protocol.picture import Picture
from daemon.protocol.replay import PageHead, PageRequest, Refusal, StatusRequest
from daemon.protocol.states import (
    Backlog,
    DaemonStatus,
    FolderState,
    Heartbeat,
    HelperState,
    Last,
    MicrophoneState,
    RunningModel,
)

Schema = dict[str, object]

STRUCTS: dict[str, type[Struct]] = {
    **KINDS,
    "heartbeat": Heartbeat,
    "picture": Picture,
    "source": Source,
    "window": Window,
    "clock_doubt": ClockDoubt,
    "recorder": Recorder,
    "model": Model,
    "error": Error,
    "folder_state": FolderState,
    "microphone_state": MicrophoneState,
    "backlog": Backlog,
    "running_model": RunningModel,
    "helper_state": HelperState,
    "replay_request": PageRequest,
    "replay_header": PageHead,
    "replay_error": Refusal,
    "status_request": StatusRequest,
    "status_reply": DaemonStatus,
}
SET_LATER = (*PLACE, "node", "published_at", "last")  # UNSET at first, and there when published


def _if(field: str, value: str, then: Schema, otherwise: Schema) -> Schema:
    condition = {"properties": {field: {"const": value}}}
    return {"if": condition, "then": {"properties": then}, "else": {"properties": otherwise}}


def _const(field: str, value: object) -> Schema:
    return {"properties": {field: {"const": value}}}


TEXT, NULL = {"type": "string"}, {"type": "null"}
FILE: Schema = {"properties": {"kind": {"const": "file"}, "path": TEXT}, "required": ["path"]}
MIC: Schema = {"properties": {"kind": {"const": "mic"}, "path": NULL}}
# What holds between the fields of one message, which types cannot say.
RULES: dict[str, Schema] = {
    "reason_of_decision": _if("decision", "accepted", {"reason": NULL}, {"reason": TEXT}),
    "prediction_by_source": {
        "if": {"properties": {"source": _const("kind", "file")}},
        "then": {
            "properties": {
                "source": FILE,
                "file_id": TEXT,
                "window": {"properties": {"start_s": {"minimum": 0}}},
            }
        },
        "else": {
            "properties": {"source": MIC, "file_id": NULL, "window": _const("clock", "capture")}
        },
    },
    "from_file": {"properties": {"source": FILE}},
    "from_microphone": {"properties": {"source": MIC}},
    "error_of_state": _if(
        "state",
        "done",
        {
            "windows": {"minimum": 1},
            "duration_s": {"type": "number"},
            "sample_rate": {"type": "integer"},
            "error": NULL,
        },
        {"error": {"type": "object"}},
    ),
    "reason_of_end": _if("state", "end", {"reason": TEXT}, {"reason": NULL}),
}
RULES_OF = {
    "prediction": ("reason_of_decision", "prediction_by_source"),
    "file": ("from_file", "error_of_state"),
    "event": ("from_microphone", "reason_of_end"),
    "gap": ("from_microphone",),
    "classify_line": ("reason_of_decision", "prediction_by_source", "from_file"),
}


def make() -> Schema:
    """The whole schema."""
    kinds = [*KINDS, "heartbeat", "picture"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:tinyast:messages:1",
        "title": "Messages of tinyastd, version 1",
        "description": (
            "Any published message. Single types, and the requests and answers of replay, are "
            "under $defs. Fields may be added, so unknown ones are allowed; docs/messages.md "
            "describes each."
        ),
        "type": "object",
        "required": ["schema", "type"],
        "properties": {"schema": {"const": SCHEMA}, "type": {"enum": kinds}},
        "allOf": [{"if": _const("type", kind), "then": _ref(kind)} for kind in kinds],
        "$defs": _definitions(),
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _definitions() -> dict[str, Schema]:
    structs = tuple(STRUCTS.values())
    _, made = msgspec.json.schema_components((*structs, Last), ref_template="#/$defs/{name}")
    names = {struct.__name__: name for name, struct in STRUCTS.items()}
    definitions: dict[str, Schema] = {}
    for title, schema in made.items():
        name = names.get(title, title.lower())
        definitions[name] = _renamed(schema, names)
        if title in names:
            definitions[name]["required"] = list(_required(STRUCTS[name]))
    definitions["last"] = msgspec.json.schema(Last)
    in_both = set(_required(MicrophoneState))
    definitions["source_state"] = {
        "description": "One source, as heartbeats and the status reply describe it.",
        "type": "object",
        "required": [field for field in _required(FolderState) if field in in_both],
        "oneOf": [_ref("folder_state"), _ref("microphone_state")],
    }
    definitions["classify_line"] = _classify_line(definitions["prediction"])
    for name, rules in RULES_OF.items():
        definitions[name]["allOf"] = [_ref(rule) for rule in rules]
    return dict(sorted(definitions.items())) | RULES


def _required(struct: type[Struct]) -> Iterator[str]:
    """The fields that are always there, in their order on the wire."""
    config = struct.__struct_config__
    if config.tag_field is not None:
        yield config.tag_field
    for field in fields(struct):
        omitted = config.omit_defaults and not field.required
        if not omitted and (field.default is not UNSET or field.name in SET_LATER):
            yield field.encode_name


def _classify_line(prediction: Schema) -> Schema:
    return prediction | {
        "title": "ClassifyLine",
        "description": "One line of `tinyastd classify --format jsonl`: a prediction without its "
        "place in a stream.",
        "required": [field for field in _required(Prediction) if field not in PLACE],
    }


def _renamed(schema: Schema, names: dict[str, str]) -> Schema:
    """`schema` with our names in its references, and without defaults, which are ours alone."""
    renamed = {key: _inner(value, names) for key, value in schema.items() if key != "default"}
    if isinstance(ref := schema.get("$ref"), str):
        title = ref.rpartition("/")[2]
        renamed |= _ref(names.get(title, title.lower()))
    return renamed


def _inner(value: object, names: dict[str, str]) -> object:
    if isinstance(value, dict):
        return _renamed(value, names)
    if isinstance(value, list):
        return [_inner(item, names) for item in value]
    return value


if __name__ == "__main__":
    json.dump(make(), sys.stdout, indent=2)
    print()
