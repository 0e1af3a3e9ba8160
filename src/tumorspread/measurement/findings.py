"""The measured answer, and its JSON.

`Findings` is what travels from `measure` to `report`, and what stands in `findings.json` (docs/findings.md).
Every quantity carries its unit in its name. A number that could not be measured is None, and the `reasons` of
its object say why, by field name. World coordinates are LPS mm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tumorspread.errors import ReadError
from tumorspread.scan.volume import Remark, Shape, Triple

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Side = Literal["left", "right"]
Segment = tuple[Triple, Triple]
Reasons = dict[str, str]

SCHEMA_VERSION = 1
DISCLAIMER = "Research use only. Not a medical device; not for diagnosis or treatment."


@dataclass(frozen=True)
class ScanInfo:
    """The scan that was measured.

    Attributes:
        source: name of the file or folder, without its path.
        shape_zyx: voxels along (z, y, x) of the array as read.
        spacing_mm: distance between voxel centres along (z, y, x).
    """

    source: str
    shape_zyx: Shape
    spacing_mm: Triple


@dataclass(frozen=True)
class Origin:
    """What made these findings: software, the mask's source, the weights (None for a mask brought along)."""

    software: str
    mask_source: str
    weights: str | None = None
    weights_sha256: str | None = None
    threshold: float | None = None
    made_at: str | None = None


@dataclass(frozen=True)
class Lungs:
    """Volumes of the lungs, air and tissue within their outline, in mL."""

    left_ml: float | None
    right_ml: float | None
    total_ml: float | None
    reasons: Reasons = field(default_factory=dict)


@dataclass(frozen=True)
class Lesion:
    """One connected piece of the mask.

    Attributes:
        id: 1 for the largest; stable for a given mask.
        voxel_count: voxels of the mask in this piece.
        volume_ml: voxel count times voxel volume.
        long_axis_mm: longest diameter in an axial slice (RECIST 1.1).
        long_axis_ends_mm: its two ends, LPS mm.
        short_axis_mm: longest diameter at right angles to the long axis in the same slice.
        short_axis_ends_mm: its two ends, LPS mm.
        axial_slice: index of that slice along the array axis that runs nearest to head-foot.
        centroid_mm: centre of mass of the mask, LPS mm.
        side: the lung it lies in.
        lung_share_percent: its volume as a share of that lung's.
        mean_hu: mean of the scan inside the mask, padding below -1024 HU counted as -1024.
        flags: codes: `cut_by_scan_edge`, `outside_lungs`, `single_slice`.
    """

    id: int
    voxel_count: int
    volume_ml: float
    long_axis_mm: float
    long_axis_ends_mm: Segment
    short_axis_mm: float
    short_axis_ends_mm: Segment
    axial_slice: int
    centroid_mm: Triple
    side: Side | None
    lung_share_percent: float | None
    mean_hu: float | None
    flags: tuple[str, ...] = ()
    reasons: Reasons = field(default_factory=dict)


@dataclass(frozen=True)
class Burden:
    """All lesions together. `lung_fraction_percent` is tumour volume over lung volume."""

    count: int
    volume_ml: float
    lung_fraction_percent: float | None
    sum_of_long_axes_mm: float
    reasons: Reasons = field(default_factory=dict)


@dataclass(frozen=True)
class SideBurden:
    """The lesions of one lung."""

    count: int
    volume_ml: float
    lung_fraction_percent: float | None
    reasons: Reasons = field(default_factory=dict)


@dataclass(frozen=True)
class Spread:
    """How far the tumour reaches.

    Attributes:
        left: the lesions of the left lung; None where the lungs are unknown.
        right: those of the right lung; None where the lungs are unknown.
        sides_involved: number of lungs with a lesion, 0 to 2; None where the lungs are unknown.
        dominant_id: id of the largest lesion; None without lesions.
        dominant_share_percent: its share of the whole tumour volume.
        largest_distance_mm: between the centroids of the two lesions furthest apart; None below two lesions.
        mean_distance_to_dominant_mm: mean over the other lesions of the distance of their centroids to that of
            the dominant one; None below two lesions.
    """

    left: SideBurden | None
    right: SideBurden | None
    sides_involved: int | None
    dominant_id: int | None
    dominant_share_percent: float | None
    largest_distance_mm: float | None
    mean_distance_to_dominant_mm: float | None
    reasons: Reasons = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """The whole answer for one scan, lesions largest first."""

    scan: ScanInfo
    origin: Origin
    lungs: Lungs
    lesions: tuple[Lesion, ...]
    burden: Burden
    spread: Spread
    warnings: tuple[Remark, ...] = ()
    disclaimer: str = DISCLAIMER
    schema: int = SCHEMA_VERSION

    # Goes for every part: a number that is none would go on into tables and sums.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"allow_inf_nan": False}

    def to_json(self) -> str:
        """The JSON text of docs/findings.md, indented, ending in a newline."""
        return _adapter().dump_json(self, indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str) -> Findings:
        """Read back what `to_json` wrote.

        Raises:
            ReadError: not JSON, another schema version, a missing field or one of the wrong type.
        """
        from pydantic import ValidationError

        try:
            findings = _adapter().validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ReadError(f"not a findings.json of tumorspread: {place}: {first['msg']}") from error
        if findings.schema != SCHEMA_VERSION:
            raise ReadError(f"findings.json has schema {findings.schema}; this version reads {SCHEMA_VERSION}")
        return findings


@cache
def _adapter() -> TypeAdapter[Findings]:
    from pydantic import TypeAdapter

    return TypeAdapter(Findings)
