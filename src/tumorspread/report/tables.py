"""Numbers for people and for spreadsheets: rounding for display, and the CSV files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields

from tumorspread.followup.record import FollowUp
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.metrics import MaskMetrics
from tumorspread.measurement.parts import Lesion, Segment
from tumorspread.measurement.summary import Evaluation

DASH = "–"
Value = str | int | float | None

# Fields of `Lesion` that need no unfolding.
LESION_MORE = (
    "volume_ml_error", "long_axis_mm_error", "short_axis_mm_error", "who_product_mm2", "mesh_volume_ml",
    "surface_cm2", "sphericity", "max_3d_mm", "equivalent_diameter_mm", "elongation", "flatness", "sd_hu", "p5_hu",
    "p25_hu", "median_hu", "p75_hu", "p95_hu", "solid_percent", "ground_glass_percent", "mass_g", "zone", "region",
    "lobe", "distance_to_pleura_mm", "pleural_contact_cm2", "distance_to_mediastinum_mm", "nearest_lesion_id",
    "nearest_lesion_mm", "recist_measurable", "distance_to_pleura_mm_error", "distance_to_mediastinum_mm_error",
    "longest_diameter_mm", "longest_diameter_mm_error", "longest_diameter_plane",
)  # fmt: skip
LESION_COLUMNS = (
    "scan", "lesion", "side", "volume_ml", "lung_share_percent", "long_axis_mm", "short_axis_mm",
    *(f"{axis}_axis_{end}_{c}_mm" for axis in ("long", "short") for end in ("start", "end") for c in "xyz"),
    "centroid_x_mm", "centroid_y_mm", "centroid_z_mm",
    "axial_slice", "mean_hu", "voxel_count", "flags", "reasons", *LESION_MORE,
)  # fmt: skip
TRACK_COLUMNS = (
    "track", "target", "scan", "day", "state", "lesions", "volume_ml", "volume_ml_error", "long_axis_mm",
    "long_axis_mm_error", "place_x_mm", "place_y_mm", "place_z_mm",
)  # fmt: skip
METRIC_COLUMNS = tuple(f.name for f in fields(MaskMetrics) if f.name != "reasons")


def rounded(value: float | None, digits: int = 3) -> str:
    """A number for reading: `digits` significant figures, never with an exponent; a dash for None.

    >>> rounded(12.345), rounded(0.001234), rounded(3172.0), rounded(99.96), rounded(None)
    ('12.3', '0.00123', '3170', '100', '–')
    """
    if value is None:
        return DASH
    if value == 0:
        return "0"
    nearest = float(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(nearest))))
    return f"{nearest:.{decimals}f}".replace("-", "−")


def quantity(value: float | None, unit: str) -> str:
    """A number for reading with its unit after a space that does not break: `12.3 mL`; a dash for None."""
    return DASH if value is None else f"{rounded(value)}\u00a0{unit}"


def lesions_csv(findings: Findings) -> str:
    """The lesions as CSV text, one a row, largest first; only the header for none.

    Coordinates are LPS mm. A missing number is an empty cell, its reason stands in the column `reasons`.
    """
    return _csv(LESION_COLUMNS, (_lesion_row(findings.scan.source, lesion) for lesion in findings.lesions))


def tracks_csv(followup: FollowUp) -> str:
    """The tracks as CSV text, a row a track and scan; only the header for none. Places are LPS mm."""
    return _csv(
        TRACK_COLUMNS,
        (
            [
                track.id, "yes" if track.is_target else "no", time.source, time.day, point.state,
                " ".join(map(str, point.lesion_ids)), point.volume_ml, point.volume_ml_error, point.long_axis_mm,
                point.long_axis_mm_error, *(point.place_mm or (None, None, None)),
            ]
            for track in followup.tracks
            for time, point in zip(followup.time_points, track.points, strict=True)
        ),
    )  # fmt: skip


def radiomics_csv(findings: Findings) -> str:
    """The features of `--radiomics` as CSV text, a lesion a row; an empty cell where a lesion lacks one."""
    features = [lesion.radiomics or {} for lesion in findings.lesions]
    names = list(dict.fromkeys(name for found in features for name in found))
    rows = zip(findings.lesions, features, strict=True)
    source = findings.scan.source
    return _csv(("scan", "lesion", *names), ([source, lesion.id, *map(found.get, names)] for lesion, found in rows))


def evaluation_csv(evaluation: Evaluation) -> str:
    """The metrics of every case as CSV text, one a row, in their order; only the header for none."""
    rows = (
        [
            score.case,
            *(getattr(score.metrics, name) for name in METRIC_COLUMNS),
            _reasons(score.metrics.reasons),
        ]
        for score in evaluation.cases
    )
    return _csv(("case", *METRIC_COLUMNS, "reasons"), rows)


def _lesion_row(source: str, lesion: Lesion) -> list[Value]:
    return [
        source, lesion.id, lesion.side, lesion.volume_ml, lesion.lung_share_percent,
        lesion.long_axis_mm, lesion.short_axis_mm,
        *_flat(lesion.long_axis_ends_mm), *_flat(lesion.short_axis_ends_mm), *lesion.centroid_mm,
        lesion.axial_slice, lesion.mean_hu, lesion.voxel_count,
        " ".join(lesion.flags), _reasons(lesion.reasons), *(getattr(lesion, name) for name in LESION_MORE),
    ]  # fmt: skip


def _flat(ends_mm: Segment) -> list[float]:
    return [coordinate for end in ends_mm for coordinate in end]


def _reasons(reasons: dict[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def _csv(header: Sequence[str], rows: Iterable[Sequence[Value]]) -> str:
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return target.getvalue()


def _cell(value: Value) -> str:
    """A number with 7 significant figures; text that a spreadsheet would run as a formula is quoted."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.7g}"
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
