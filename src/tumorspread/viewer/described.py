"""What OpenAPI says of bodies that are read as they come, without a copy in memory for each layer above them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter

REFS = "#/components/schemas/{model}"
ERROR = {
    "description": "Refused; nothing is changed",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"error": {"type": "string"}, "revision": {"type": "integer"}},
                "required": ["error"],
            }
        }
    },
}
UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "scan": {"type": "string", "format": "binary"},
                        "name": {"type": "string", "maxLength": 80},
                    },
                    "required": ["scan"],
                }
            }
        },
    }
}


def described(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """The body of a route, as `openapi_extra`; its parts move to the components with `move_parts`."""
    schema = adapter.json_schema(ref_template=REFS)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def move_parts(app: FastAPI) -> dict[str, Any]:
    """The description of an API, the parts of its bodies among its components."""
    if app.openapi_schema is None:
        found = FastAPI.openapi(app)
        parts = found.setdefault("components", {}).setdefault("schemas", {})
        for path in found["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
                operation["responses"]["4XX"] = ERROR
                for content in operation.get("requestBody", {}).get("content", {}).values():
                    parts.update(content["schema"].pop("$defs", {}))
        for name in ("HTTPValidationError", "ValidationError"):
            parts.pop(name, None)
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"token": []}]
        app.openapi_schema = found
    return app.openapi_schema
