"""Templates of the pages, and pictures that stand inside them."""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tumorspread.report import wording
from tumorspread.report.tables import rounded


class Footnotes:
    """Why numbers are missing: each reason once, numbered in the order in which the page first needs it."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def number(self, reason: str) -> int:
        """The number, from 1, of a reason; a new one is added at the end."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        return self.reasons.index(reason) + 1


def render(template: str, **values: Any) -> str:
    """One page. Every text is escaped; a value that the template needs and lacks is an error."""
    return environment().get_template(template).render(**values)


def data_uri(picture: bytes) -> str:
    """A PNG or JPEG as an address that holds it."""
    kind = "jpeg" if picture[:2] == b"\xff\xd8" else "png"
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode("ascii")


@cache
def environment() -> Environment:
    """Where the templates are, and the filters they know."""
    found = Environment(
        loader=PackageLoader("tumorspread.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["rounded"] = rounded
    found.filters["details"] = wording.details
    found.filters["lesion_title"] = wording.lesion_title
    found.filters["state"] = lambda state: wording.STATES[state]
    found.filters["flag"] = lambda code: wording.FLAGS.get(code, code.replace("_", " "))
    return found
