"""Validate messages with docs/messages.schema.json."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from conftest import ROOT
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

SCHEMA: dict[str, Any] = json.loads((ROOT / "docs" / "messages.schema.json").read_bytes())


@cache
def _validator(name: str | None) -> Draft202012Validator:
    """A validator for one definition, or for any message if None."""
    schema = SCHEMA if name is None else {"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    return Draft202012Validator(schema)


def problem(instance: Any, name: str | None = None) -> str | None:
    """The first violation of the schema by `instance`; None if it is valid."""
    error = best_match(_validator(name).iter_errors(instance))
    return None if error is None else f"{error.json_path}: {error.message}"


def check(instance: Any, name: str | None = None) -> None:
    """Fail if `instance` violates the schema."""
    assert problem(instance, name) is None, f"{problem(instance, name)}\n{instance}"
