"""Findings of an edited map: what an edit reaches is measured again, the rest is kept.

On a chest of 512 x 512 x 275 measuring a lesion takes 30 ms and placing it 50 ms. An edit reaches the lesions whose
voxels it changes; and, of where a lesion lies, those next to the changed voxels, and all lesions of a lung whose
surface it moves, as a lesion at the pleura does that grows beyond the lung.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tumorspread.measurement.findings import Findings
from tumorspread.measurement.gaps import nearest_lesions
from tumorspread.measurement.lesions import measure_lesion
from tumorspread.measurement.lung_checks import LEFT, RIGHT
from tumorspread.measurement.measured import cut_remark
from tumorspread.measurement.parts import Lesion, Lungs, Origin
from tumorspread.measurement.pieces import Box, speck_remark
from tumorspread.measurement.place import (
    NO_LUNGS,
    Surroundings,
    locate,
    nowhere,
    surround,
    with_gap,
    without_place,
)
from tumorspread.measurement.radiomics import lesion_features
from tumorspread.measurement.spread import measure_spread, sum_burden
from tumorspread.measurement.staging import propose_stage
from tumorspread.measurement.zones import SIDES
from tumorspread.scan.volume import Reorientation, Volume
from tumorspread.viewer.delta import Delta
from tumorspread.viewer.lesion_map import LesionMap

BY_HAND, EDITED = "the lesion was edited by hand", ", edited by hand"
# Of the warnings those that hang on the lesions; the codes that `segment_lungs` gives come after them.
OF_LESIONS = ("specks", "lesion_cut_by_scan_edge")
OF_LUNGS = (
    "lungs_not_found", "one_lung_found", "lungs_not_separated", "lungs_touch", "lungs_cut_by_scan",
    "lung_volume_implausible",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Ground:
    """What no edit changes.

    Attributes:
        scan: HU.
        sides: 1 in the left lung, 2 in the right, in the axes of `scan`; None where no lungs were found.
        lobes: n in the n-th lobe, likewise; None where no lobe mask was brought along.
        lungs: their volumes and parts.
        radiomics: whether lesions have features.
    """

    scan: Volume
    sides: NDArray[np.uint8] | None
    lobes: NDArray[np.uint8] | None
    lungs: Lungs
    radiomics: bool = False

    @property
    def placed_sides(self) -> NDArray[np.uint8] | None:
        """The lungs, where lesions can be placed by them."""
        return None if self.lungs.left_ml is None and self.lungs.right_ml is None else self.sides


@dataclass(frozen=True, eq=False)
class Measures:
    """What is known of a map.

    Attributes:
        findings: the measures.
        around: what the lesions lie in; None where no lungs are known, or where it is not computed yet.
    """

    findings: Findings
    around: Surroundings | None = None


def take_in(ground: Ground, lesions: LesionMap, findings: Findings) -> Measures:
    """The measures of a map that was measured before, so that the next edit can build on them."""
    return Measures(findings, _around(ground, _upright(ground, lesions), findings.lesions))


def remeasure(
    ground: Ground, lesions: LesionMap, old: Measures, delta: Delta, moment: str, *, everything: bool = False
) -> Measures:
    """The measures of a map after an edit.

    Args:
        ground: what no edit changes.
        lesions: the map, the edit made.
        old: the measures before it.
        delta: what it changed.
        moment: when.
        everything: measure all lesions anew.

    Returns:
        Those that `measure` gives for this map, lesion by lesion, with the ids of the map.
    """
    upright = _upright(ground, lesions)
    kept = {n.id: n for n in old.findings.lesions if n.id not in delta.ids and not everything}
    measured = {n: kept.get(n) or _measured(ground, lesions, upright, n) for n in lesions.boxes}
    ordered = _largest_first(measured, upright)
    around = _around(ground, upright, ordered)
    reached = _reached(ground, lesions, old, around, delta, measured)
    placed = _placed(ground, upright, ordered, around, reached | (measured.keys() - kept.keys()))
    return Measures(_with_lesions(old.findings, placed, ground.lungs, moment), around)


@dataclass(frozen=True, eq=False)
class _Upright:
    """The map and the scan in axes turned to (head, back, left)."""

    labels: Volume
    boxes: dict[int, Box]
    hu: NDArray[np.generic]
    turn: Reorientation


def _upright(ground: Ground, lesions: LesionMap) -> _Upright:
    labels = ground.scan.with_voxels(lesions.labels)
    turn = Reorientation.to_canonical(labels)
    boxes = {n: turn.apply_box(box, labels.shape) for n, box in lesions.boxes.items()}
    return _Upright(turn.apply(labels), boxes, turn.apply_array(ground.scan.voxels), turn)


def _measured(ground: Ground, lesions: LesionMap, upright: _Upright, number: int) -> Lesion:
    sides = None if ground.sides is None else upright.turn.apply_array(ground.sides)
    box = upright.boxes[number]
    lesion = measure_lesion(number, box, upright.labels, upright.hu, sides, ground.lungs, upright.turn)
    if ground.radiomics:
        labels = ground.scan.with_voxels(lesions.labels)
        lesion = replace(lesion, radiomics=lesion_features(lesion, lesions.boxes[number], ground.scan, labels))
    return replace(lesion, reasons={**lesion.reasons, "probability": BY_HAND})


def _largest_first(measured: dict[int, Lesion], upright: _Upright) -> tuple[Lesion, ...]:
    """As `label_lesions` numbers them: equal ones by their first voxel."""

    def first_voxel(lesion: Lesion) -> tuple[int, ...]:
        box = upright.boxes[lesion.id]
        inside = upright.labels.voxels[box] == lesion.id
        at = np.unravel_index(int(inside.argmax()), inside.shape)
        return tuple(int(i) + edge.start for i, edge in zip(at, box, strict=True))

    return tuple(sorted(measured.values(), key=lambda n: (-n.voxel_count, first_voxel(n))))


def _around(ground: Ground, upright: _Upright, ordered: Sequence[Lesion]) -> Surroundings | None:
    sides = ground.placed_sides
    if sides is None or not ordered:
        return None
    turn, lobes = upright.turn, ground.lobes
    return surround(
        ordered,
        upright.labels.voxels,
        upright.boxes,
        turn.apply_array(sides),
        None if lobes is None else turn.apply_array(lobes),
        upright.labels.spacing_mm,
    )


def _reached(
    ground: Ground,
    lesions: LesionMap,
    old: Measures,
    around: Surroundings | None,
    delta: Delta,
    measured: dict[int, Lesion],
) -> set[int]:
    """The lesions whose place an edit may change."""
    if around is None or ground.sides is None or not len(delta.places):
        return set()
    box = lesions.around([lesions.box_of(delta.places)])
    reached = set(np.unique(lesions.labels[box]).tolist()) - {0}
    if around.surface is None:
        return reached
    if old.around is None or old.around.surface is None:
        return set(measured)
    known = {lesion.id: lesion.side for lesion in old.findings.lesions}
    if any(measured[n].side != known[n] for n in delta.ids & measured.keys() & known.keys()):
        return set(measured)
    before, after = old.around.surface, around.surface
    if not np.array_equal(before.between, after.between):
        return set(measured)
    here = ground.sides.reshape(-1)[delta.places]
    for side in (LEFT, RIGHT):
        was = (here == side) | (before.lesion_side[delta.before] == side)
        is_now = (here == side) | (after.lesion_side[delta.after] == side)
        if (was != is_now).any():
            reached |= {n for n, lesion in measured.items() if lesion.side == SIDES[side]}
    return reached


def _placed(
    ground: Ground,
    upright: _Upright,
    ordered: Sequence[Lesion],
    around: Surroundings | None,
    fresh: set[int],
) -> tuple[Lesion, ...]:
    """The lesions with their places, those of `fresh` anew, and the gaps between them."""
    boxes = {lesion.id: upright.boxes[lesion.id] for lesion in ordered}
    gaps = nearest_lesions(upright.labels.voxels, boxes, upright.labels.spacing_mm)
    reason = ground.lungs.reasons.get("left_ml", NO_LUNGS)

    def place(lesion: Lesion) -> Lesion:
        if lesion.id not in fresh:
            return lesion
        bare = without_place(lesion)
        return nowhere(bare, reason) if around is None else locate(bare, around)

    return tuple(with_gap(place(lesion), gaps[lesion.id]) for lesion in ordered)


def _with_lesions(old: Findings, lesions: tuple[Lesion, ...], lungs: Lungs, moment: str) -> Findings:
    kept = [remark for remark in old.warnings if remark.code not in OF_LESIONS]
    of_lesions = (*speck_remark([n.volume_ml for n in lesions]), *cut_remark(lesions))
    return replace(
        old,
        origin=_edited(old.origin, moment),
        lesions=lesions,
        burden=sum_burden(lesions, lungs),
        spread=measure_spread(lesions, lungs),
        stage=propose_stage(lesions),
        warnings=(
            *(remark for remark in kept if remark.code not in OF_LUNGS),
            *of_lesions,
            *(remark for remark in kept if remark.code in OF_LUNGS),
        ),
    )


def _edited(origin: Origin, moment: str) -> Origin:
    """Results without a date were deidentified: the day of the scan is often that of the edit."""
    source = origin.mask_source if origin.mask_source.endswith(EDITED) else origin.mask_source + EDITED
    return replace(origin, mask_source=source, made_at=None if origin.made_at is None else moment)
