"""What the report says in words: the summary, the meaning of codes, and what cannot be judged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tumorspread.followup.record import FollowUp, State
from tumorspread.measurement.findings import Findings
from tumorspread.measurement.metrics import FOUND_SHARE
from tumorspread.measurement.parts import Lesion, PartBurden, Spread
from tumorspread.report.tables import quantity, rounded

FLAGS = {
    "cut_by_scan_edge": "touches the edge of the scan: its true size is not known and at least this",
    "outside_lungs": "lies outside the outline of the lungs, in another organ or by error: no part of T or M1a",
    "single_slice": "seen on one slice only: its extent from head to foot is not known",
    "too_coarse": "so few voxels that its volume may be off by more than a quarter",
}

LIMITS = (
    "Whether a lesion is malignant or benign. Size and shape alone do not tell.",
    "Whether tissue is tumour or inflammation, scar, collapsed lung or fluid, which look alike on CT.",
    "Whether a tumour has grown into the chest wall, mediastinum, vessels or airways.",
    "Lymph nodes, and metastases outside the lungs. This is not a TNM stage and not a RECIST response.",
    "Whether something was missed. The mask holds what was found; small lesions are missed most often.",
)

STATES: dict[State, str] = {
    "baseline": "there at baseline",
    "stays": "stays",
    "new": "new",
    "gone": "gone",
    "merged": "merged",
    "split": "split",
    "regrouped": "regrouped",
    "returned": "returned",
    "not_covered": "not in the scan",
    "absent": "not there",
}

# What the summary says became of the tracks in the last scan, in this order.
BECAME: dict[State, str] = {
    "stays": "there as before",
    "new": "new",
    "gone": "gone",
    "absent": "gone before",
    "merged": "merged",
    "split": "split",
    "regrouped": "regrouped",
    "returned": "returned",
    "not_covered": "not in the scan",
}

RESPONSES = {
    "CR": "complete response (CR)",
    "PR": "partial response (PR)",
    "SD": "stable disease (SD)",
    "PD": "progressive disease (PD)",
    "NE": "not evaluable (NE)",
    "non-CR/non-PD": "neither complete response nor progression",
}

COURSE_LIMITS = (
    "Whether a change is growth, inflammation, bleeding or another depth of breath.",
    "Whether lesions other than the targets have progressed without doubt: a reader's call, and not made here.",
    "Lymph nodes, and disease outside the lungs. A full RECIST response needs them, and confirmation where required.",
    "What the masks have missed: a lesion counts as new or gone by the masks that were given.",
    "Changes smaller than two readers would differ by; the bars show only what the voxels leave open.",
)

# What the report says of each lesion under its picture: field of `Lesion`, words, unit.
DETAILS = (
    ("volume_ml", "Volume", "mL"),
    ("long_axis_mm", "Long axis", "mm"),
    ("short_axis_mm", "Short axis", "mm"),
    ("longest_diameter_mm", "Longest diameter in a plane", "mm"),
    ("longest_diameter_plane", "That plane", ""),
    ("probability", "Probability of a tumour", ""),
    ("max_3d_mm", "Longest diameter in 3-D", "mm"),
    ("equivalent_diameter_mm", "Diameter of the equal ball", "mm"),
    ("who_product_mm2", "WHO product", "mm²"),
    ("mesh_volume_ml", "Volume of the mesh", "mL"),
    ("surface_cm2", "Surface", "cm²"),
    ("sphericity", "Sphericity", ""),
    ("elongation", "Elongation", ""),
    ("flatness", "Flatness", ""),
    ("mass_g", "Mass", "g"),
    ("mean_hu", "Mean density", "HU"),
    ("sd_hu", "Its deviation", "HU"),
    ("median_hu", "Median density", "HU"),
    ("solid_percent", "Solid part", "%"),
    ("ground_glass_percent", "Ground-glass part", "%"),
    ("recist_measurable", "Measurable by RECIST 1.1", ""),
    ("region", "Region", ""),
    ("lobe", "Lobe", ""),
    ("nearest_lesion_mm", "Gap to the nearest lesion", "mm"),
    ("distance_to_pleura_mm", "Gap to the pleura", "mm"),
    ("pleural_contact_cm2", "Contact with the pleura", "cm²"),
    ("distance_to_mediastinum_mm", "Gap to the mediastinum", "mm"),
)

METRICS = {
    "dice": ("Dice", "", "twice the overlap over the sum of both volumes (Dice 1945); 1 is equal"),
    "iou": ("IoU", "", "overlap over union (Jaccard); 1 is equal"),
    "accuracy": ("Accuracy", "", "share of all voxels that agree; near 1 for any small tumour"),
    "precision": ("Precision", "", "share of the predicted voxels that are tumour in the reference"),
    "recall": ("Recall", "", "share of the reference's tumour voxels that were predicted (sensitivity)"),
    "specificity": ("Specificity", "", "share of the other voxels left out; near 1 for any small tumour"),
    "nsd_2mm": ("NSD at 2 mm", "", "normalised surface Dice (Nikolov et al. 2021, doi:10.2196/26151): "
                "share of the surface voxels of both masks within 2 mm of the other; each voxel counts once"),
    "hd95_mm": ("HD95", "mm", "95th percentile of the distances from each surface voxel to the other "
                "surface in each direction; the larger of the two (as MONAI; area-weighted tools differ)"),
    "volume_ml": ("Volume", "mL", "of the prediction"),
    "reference_volume_ml": ("Reference volume", "mL", "of the reference"),
    "volume_error_ml": ("Volume error", "mL", "prediction minus reference"),
    "volume_error_percent": ("Volume error", "%", "prediction minus reference, as a share of the reference"),
    "lesions_reference": ("Lesions", "", "connected pieces of the reference"),
    "lesions_found": ("Found", "", f"those of which the prediction covers at least {FOUND_SHARE:.0%}"),
    "false_positives": ("False positives", "", "connected pieces of the prediction outside the reference"),
}  # fmt: skip


@dataclass(frozen=True)
class Detail:
    """One line of what is told of a lesion; ``error` is half the width of its error bar,
    None where it has none; `reason` says why `value` is None."""

    name: str
    value: float | str | None
    error: float | None
    unit: str
    reason: str | None


def details(lesion: Lesion) -> list[Detail]:
    """All that is told of a lesion under its picture."""
    return [
        Detail(words, _told(getattr(lesion, f)), getattr(lesion, f"{f}_error", None), unit, lesion.reasons.get(f))
        for f, words, unit in DETAILS
    ]


def _told(value: float | str | bool | None) -> float | str | None:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.replace("_", " ") if isinstance(value, str) else value


def zone_rows(spread: Spread) -> list[tuple[str, PartBurden, PartBurden]]:
    """Upper, middle and lower zone with the burden of the right and of the left lung; none where zones are unknown."""
    found = {part.name: part for part in spread.parts if part.kind == "zone"}
    heights = ("upper", "middle", "lower")
    if any(f"{side}_{height}" not in found for side in ("right", "left") for height in heights):
        return []
    return [(height, found[f"right_{height}"], found[f"left_{height}"]) for height in heights]


def lesion_title(lesion: Lesion) -> str:
    """The lesion in one line: id, side, volume and diameters."""
    side = f"{lesion.side} lung" if lesion.side else "side unknown"
    axes = f"{rounded(lesion.long_axis_mm)} × {rounded(lesion.short_axis_mm)} mm"
    return f"Lesion {lesion.id} · {side} · {quantity(lesion.volume_ml, 'mL')} · {axes}"


def summary(findings: Findings) -> str:
    """How much, where and how far spread, in two to four sentences."""
    burden = findings.burden
    if not burden.count:
        return (
            "No lesion stands in the mask of this scan. That is no proof that there is none: small lesions, "
            "and those that touch the chest wall or the mediastinum, are the ones most often missed."
        )
    verb = "holds" if burden.count == 1 else "hold"
    text = f"{pieces(burden.count)} {verb} {quantity(burden.volume_ml, 'mL')} in all"
    text += f"{share_of_lungs(findings, 'lung volume')}. "
    return text + _where(findings) + _largest(findings.lesions[0]) + _distance(findings)


def share_of_lungs(findings: Findings, of: str) -> str:
    """What goes on a sentence on the tumour volume: its share of the lungs, called `of`; nothing if that is unknown."""
    share = findings.burden.lung_fraction_percent
    if share is None:
        return ""
    outside = any("outside_lungs" in lesion.flags for lesion in findings.lesions)
    return f", {'those in the lungs ' if outside else ''}{quantity(share, '%')} of the {of}"


def course_summary(followup: FollowUp) -> str:
    """How the tumours changed from the first to the last scan, in two to four sentences."""
    first, last = followup.time_points[0], followup.time_points[-1]
    when = "in the last scan" if last.day is None else f"{last.day:g} days later"
    text = f"{pieces(first.count)} with {quantity(first.volume_ml, 'mL')} at baseline, "
    text += f"{pieces(last.count)} with {quantity(last.volume_ml, 'mL')} {when}"
    if first.volume_ml:
        text += f" ({100 * (last.volume_ml / first.volume_ml - 1):+.0f}\u00a0%)".replace("-", "−")
    counts = Counter(track.points[-1].state for track in followup.tracks)
    told = [f"{counts[state]} {words}" for state, words in BECAME.items() if counts[state]]
    followed = "1 lesion was followed" if len(followup.tracks) == 1 else f"{len(followup.tracks)} lesions were followed"
    text += f". {followed}: {', '.join(told)}." if told else "."
    if last.overall_response:
        text += f" By the arithmetic of RECIST 1.1: {RESPONSES[last.overall_response]}."
    return text


def pieces(count: int) -> str:
    """The number of lesions with the right plural."""
    return "1 lesion" if count == 1 else f"{count} lesions"


def _where(findings: Findings) -> str:
    left, right = findings.spread.left, findings.spread.right
    if left is None or right is None:
        return "In which lung they lie is not known. " if findings.burden.count > 1 else "Its lung is not known. "
    elsewhere = findings.burden.count - left.count - right.count
    parts = [(left, "in the left lung"), (right, "in the right lung")]
    texts = [f"{pieces(b.count)} {name} ({quantity(b.volume_ml, 'mL')})" for b, name in parts if b.count]
    if elsewhere:
        texts.append(f"{pieces(elsewhere)} assigned to neither")
    return f"There {'is' if texts[0].startswith('1 ') else 'are'} {' and '.join(texts)}. "


def _largest(lesion: Lesion) -> str:
    axes = f"{rounded(lesion.long_axis_mm)} by {quantity(lesion.short_axis_mm, 'mm')}"
    return f"The largest measures {quantity(lesion.volume_ml, 'mL')}, {axes} in the axial plane. "


def _distance(findings: Findings) -> str:
    apart = findings.spread.largest_distance_mm
    return f"The two furthest apart are {quantity(apart, 'mm')} from each other." if apart is not None else ""
