"""A lesion as one flat row: names and types of its columns."""

from __future__ import annotations

from dataclasses import fields
from functools import cache

from tumorspread.cohort.rows import Cell
from tumorspread.measurement.parts import Lesion

_ENDS = ("long_axis_ends_mm", "short_axis_ends_mm")
_AXES = ("x", "y", "z")


def lesion_cells(lesion: Lesion) -> dict[str, Cell]:
    """The values of a lesion by column; places are LPS mm, several codes have spaces between them."""
    cells: dict[str, Cell] = {}
    for one in fields(lesion):
        value = getattr(lesion, one.name)
        if one.name in _ENDS:
            axis = one.name.removesuffix("_ends_mm")
            for end, point in zip(("start", "end"), value, strict=True):
                cells |= {f"{axis}_{end}_{c}_mm": number for c, number in zip(_AXES, point, strict=True)}
        elif one.name == "centroid_mm":
            cells |= {f"centroid_{c}_mm": number for c, number in zip(_AXES, value, strict=True)}
        elif one.name == "flags":
            cells["flags"] = " ".join(value)
        elif one.name == "reasons":
            cells["reasons"] = "; ".join(f"{name}: {reason}" for name, reason in value.items())
        elif one.name != "radiomics":
            cells["lesion" if one.name == "id" else one.name] = value
    return cells


@cache
def lesion_kinds() -> dict[str, type[str | int | float | bool]]:
    """Type of each column."""
    kinds: dict[str, type[str | int | float | bool]] = {}
    nowhere = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    cells = lesion_cells(Lesion(1, 1, 0.0, 0.0, nowhere, 0.0, nowhere, 0, (0.0, 0.0, 0.0), None, None, None))
    texts = {one.name: str(one.type) for one in fields(Lesion)}
    for name in cells:
        text = texts.get("id" if name == "lesion" else name, "float")
        number: type[str | int | float | bool] = float if "float" in text else int if "int" in text else str
        kinds[name] = bool if "bool" in text else str if name in ("flags", "reasons") else number
    return kinds
