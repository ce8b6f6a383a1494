"""The OpenAPI 3.1 document of the API, made from its handlers."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from daemon.page.export import TYPES
from daemon.page.reviews import Review
from daemon.page.web.api.operations import PARAMETERS, Api
from daemon.page.web.api.parameters import schemas
from tinyast import __version__

JSON: dict[str, object] = {"application/json": {"schema": {}}}
MEDIA: dict[str, Iterable[str]] = {
    "/predictions/{number}/sound.wav": ["audio/wav"],
    "/predictions/{number}/picture.png": ["image/png"],
    "/reviews.zip": ["application/zip"],
    "/export": sorted({*TYPES.values(), "application/zip"}),
}
ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {"code": {"type": "string"}, "text": {"type": "string"}},
            "required": ["code", "text"],
        }
    },
    "required": ["error"],
}


def document(api: Api) -> dict[str, object]:
    """The document as plain values."""
    paths: dict[str, dict[str, object]] = {}
    for method, route, handler in api.table():
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route)
        operation: dict[str, object] = {
            "operationId": handler.__name__,
            "summary": (handler.__doc__ or "").strip(),
            "parameters": [
                *([_number()] if "{number}" in path else []),
                *_query(PARAMETERS.get(path)),
            ],
            "responses": _responses(path),
        }
        if method == "PUT":
            schema, _ = msgspec.json.schema_components(
                [Review], ref_template="#/components/schemas/{name}"
            )
            operation["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": schema[0]}},
            }
        paths.setdefault(path, {})[method.lower()] = operation
    _, components = msgspec.json.schema_components(
        [Review], ref_template="#/components/schemas/{name}"
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "The page of tinyastd", "version": __version__},
        "servers": [{"url": "api/v1"}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _number() -> dict[str, object]:
    schema = {"type": "integer", "minimum": 0, "maximum": 2**52}
    return {"name": "number", "in": "path", "required": True, "schema": schema}


def _query(kind: type[msgspec.Struct] | None) -> list[dict[str, object]]:
    if kind is None:
        return []
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in schemas(kind).items()
    ]


def _responses(path: str) -> dict[str, object]:
    content = {each: {} for each in MEDIA[path]} if path in MEDIA else JSON
    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    problems = {
        "400": "The request does not fit",
        "401": "Sign in first",
        "403": "A write without the token",
        "404": "There is no such thing",
        "406": "The format needs a library that is missing",
        "413": "The request is too large",
        "503": "Not now",
    }
    answers: dict[str, object] = {"200": {"description": "As asked", "content": content}}
    if path.endswith("sound.wav"):
        answers["206"] = {"description": "The range asked for", "content": content}
        answers["416"] = {"description": "A range beyond the end"}
    for status, text in problems.items():
        answers[status] = {"description": text, "content": problem}
    return answers
