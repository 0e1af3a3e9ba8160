"""What size and number of lesions alone propose for T and M1a of the TNM classification of lung cancer.

T by size and separate nodules is the same in the eighth and the ninth edition (Goldstraw et al. 2016,
doi:10.1016/j.jtho.2015.09.009; ninth edition in force from 2025). It is a proposal: most of what a stage needs is not
in a mask of the lungs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tumorspread.measurement.lesions import is_in_lungs
from tumorspread.measurement.parts import Lesion, Plane, Reasons, Stage
from tumorspread.measurement.pieces import is_speck

EDITION = "TNM 9th edition, lung"
# Upper borders, each belonging to its category.
SIZES = ((10.0, "T1a"), (20.0, "T1b"), (30.0, "T1c"), (40.0, "T2a"), (50.0, "T2b"), (70.0, "T3"), (float("inf"), "T4"))
ORDER = tuple(category for _, category in SIZES)

CAVEAT = (
    "From size and number of lesions alone, taken for one primary tumour and its separate nodules. Invasion of pleura, "
    "chest wall, mediastinum, airways or diaphragm, lymph nodes and distant metastases cannot be judged from this, nor "
    "whether a nodule is tumour, a second primary or benign. T of a part-solid tumour goes by its solid part. No stage."
)


def propose_stage(lesions: Sequence[Lesion]) -> Stage:
    """Propose T and M1a.

    The dominant lesion is taken for the primary, its longest diameter in an axial, coronal or sagittal plane for its
    size. What lies outside the lungs plays no part. A border belongs to the lower category (exactly 30 mm is T1c). What
    is smaller than a ball of 3 mm is no nodule: two stray voxels of a mask must not make a T4.

    Args:
        lesions: largest first, as `measure_lesions` gives them, with side and, where known, lobe.

    Returns:
        T None with the reason where no lesion was found, where the dominant one lies outside the lungs, where the scan
        cuts the primary, or where a separate nodule may be T3 or T4 for want of lobes; `t_possible` then holds what
        remains.
    """
    if not lesions:
        return _nothing("no lesion was found")
    primary, others = lesions[0], [n for n in lesions[1:] if not is_speck(n.volume_ml) and is_in_lungs(n)]
    if not is_in_lungs(primary):
        why = f"lesion {primary.id}, the largest, lies outside the lungs: it is not taken for the primary, nor another"
        return _nothing(why)
    size, error, plane = _size(primary)
    reasons = {} if error is not None else {"size_mm_error": "the primary has no error bar"}
    t, possible, rule = _t(primary, others, reasons)
    m, m_rule = _m(primary, others, reasons)
    for left_out, why in (
        ([n for n in lesions[1:] if is_speck(n.volume_ml)], "below a ball of 3 mm"),
        ([n for n in lesions[1:] if not is_speck(n.volume_ml) and not is_in_lungs(n)], "outside the lungs"),
    ):
        if left_out:
            rule, m_rule = (f"{words}; {_ids(left_out)} {why}: not counted" for words in (rule, m_rule))
    return Stage(EDITION, t, rule, possible, m, m_rule, size, error, CAVEAT, reasons, plane)


def _nothing(why: str) -> Stage:
    """No proposal, and why."""
    reasons = dict.fromkeys(("t", "m", "size_mm", "size_mm_error", "size_plane"), why)
    return Stage(EDITION, None, why, (), None, why, None, None, CAVEAT, reasons)


def _size(primary: Lesion) -> tuple[float, float | None, Plane]:
    """The greatest dimension, its error bar, and the plane that shows it."""
    if primary.longest_diameter_mm is None or primary.longest_diameter_plane is None:
        return primary.long_axis_mm, primary.long_axis_mm_error, "axial"
    return primary.longest_diameter_mm, primary.longest_diameter_mm_error, primary.longest_diameter_plane


def category_by_size(size_mm: float) -> str:
    """T1a to T4 by the size of the tumour alone."""
    return next(category for border, category in SIZES if size_mm <= border)


def _t(primary: Lesion, others: Sequence[Lesion], reasons: Reasons) -> tuple[str | None, tuple[str, ...], str]:
    """T, the categories that remain possible, and the rule in words."""
    size, bar, plane = _size(primary)
    error = bar or 0.0
    by_size = category_by_size(size)
    low, high = category_by_size(max(size - error, 0.0)), category_by_size(size + error)
    if plane == "axial":
        rule = f"lesion {primary.id}, long axis {size:.1f} mm: {_range(by_size)}"
    else:
        rule = f"lesion {primary.id}, {size:.1f} mm in the {plane} plane (axial {primary.long_axis_mm:.1f} mm): "
        rule += _range(by_size)
    if "cut_by_scan_edge" in primary.flags:
        high = "T4"
    least, most, more = _by_nodules(primary, others)
    if more:
        rule += f"; {more}"
    possible = tuple(ORDER[max(_rank(low), _rank(least)) : max(_rank(high), _rank(most)) + 1])
    if "cut_by_scan_edge" in primary.flags:
        reasons["t"] = "the scan cuts the dominant lesion: it is larger than measured"
        return None, possible, rule
    if least != most and by_size != "T4":
        reasons["t"] = "whether the separate nodules lie in the primary's lobe is unknown"
        return None, possible, rule
    return max(by_size, least, key=_rank), possible, rule


def _by_nodules(primary: Lesion, others: Sequence[Lesion]) -> tuple[str, str, str]:
    """The least and the most that separate nodules of the same lung make of T, and the rule in words."""
    same_lung = [n for n in others if n.side is not None and n.side == primary.side]
    unknown = [n for n in others if n.side is None or primary.side is None]
    elsewhere = [n for n in same_lung if primary.lobe and n.lobe and n.lobe != primary.lobe]
    same_lobe = [n for n in same_lung if primary.lobe and n.lobe == primary.lobe]
    open_lobe = [n for n in same_lung if not (primary.lobe and n.lobe)]
    if elsewhere:
        return "T4", "T4", f"separate nodule in another lobe of the same lung ({_ids(elsewhere)}): T4"
    least = "T3" if same_lobe or open_lobe else "T1a"
    most = "T4" if open_lobe or unknown else least
    words = []
    if same_lobe:
        words.append(f"separate nodule in the same lobe ({_ids(same_lobe)}): at least T3")
    if open_lobe:
        words.append(f"separate nodule in the same lung, lobes unknown ({_ids(open_lobe)}): T3 or T4")
    if unknown:
        words.append(f"separate nodule of unknown side ({_ids(unknown)})")
    return least, most, "; ".join(words)


def _m(primary: Lesion, others: Sequence[Lesion], reasons: Reasons) -> tuple[Literal["M1a"] | None, str]:
    """M1a or None, and the rule in words; None does not mean M0."""
    contralateral = [n for n in others if None not in (n.side, primary.side) and n.side != primary.side]
    if contralateral:
        return "M1a", f"separate nodule in the other lung ({_ids(contralateral)}): M1a"
    if any(n.side is None or primary.side is None for n in others):
        reasons["m"] = "the side of a lesion is unknown"
        return None, "whether a separate nodule lies in the other lung is unknown"
    reasons["m"] = "no separate nodule in the other lung; other metastases cannot be judged"
    return None, "no separate nodule in the other lung; this is not M0"


def _range(category: str) -> str:
    rank = _rank(category)
    low = SIZES[rank - 1][0] if rank else 0.0
    high = SIZES[rank][0]
    between = f"above {low:g} to {high:g} mm" if rank and high < float("inf") else ""
    return f"{category} ({between or (f'up to {high:g} mm' if not rank else f'above {low:g} mm')})"


def _rank(category: str) -> int:
    return ORDER.index(category)


def _ids(lesions: Sequence[Lesion]) -> str:
    return ("lesion " if len(lesions) == 1 else "lesions ") + ", ".join(str(n.id) for n in lesions[:5])
