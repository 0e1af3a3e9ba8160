"""The body of a request, never more of it than is expected."""

from __future__ import annotations

from typing import TypeVar

from fastapi import HTTPException, Request
from pydantic import TypeAdapter, ValidationError

# 200,000 runs of two numbers take 4 MB.
MOST_JSON_BYTES = 8 * 2**20

Kind = TypeVar("Kind")


async def read_json(request: Request, adapter: TypeAdapter[Kind]) -> Kind:
    """The body as what is expected.

    Raises:
        HTTPException: 413 too much of it, 415 not JSON, 422 something else than was expected.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "expected Content-Type: application/json")
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > MOST_JSON_BYTES:
            raise HTTPException(413, f"more than {MOST_JSON_BYTES // 2**20} MiB of JSON; draw it in several edits")
    try:
        return adapter.validate_json(bytes(content))
    except ValidationError as error:
        raise HTTPException(422, plain_fault(error)) from error


def plain_fault(error: ValidationError) -> str:
    """The first fault in one line, without what was sent."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
