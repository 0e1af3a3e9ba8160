"""A little thorax with a large lesion in the left lung and a small one in the right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tumorspread.measurement.findings import Findings
from tumorspread.measurement.parts import Burden, Lesion, Lungs, Origin, ScanInfo, SideBurden, Spread
from tumorspread.scan.volume import Remark, Volume

SHAPE = (24, 40, 48)
SPACING = np.array([5.0, 4.0, 3.0])
# Lesions are boxes of voxels, so that every length is a formula: start and stop along (z, y, x).
BOXES = {1: ((14, 18, 34), (17, 22, 40)), 2: ((6, 20, 12), (8, 22, 14))}


@dataclass(frozen=True)
class Thorax:
    scan: Volume
    lesions: Volume
    lungs: Volume
    findings: Findings


@pytest.fixture(scope="session")
def thorax() -> Thorax:
    z, y, x = np.indices(SHAPE)
    body = ((y - 20) / 17) ** 2 + ((x - 23.5) / 22) ** 2 <= 1
    scan = np.where(body, 40, -1000).astype(np.int16)
    lungs = np.zeros(SHAPE, np.uint8)
    for label, middle in ((1, 34.5), (2, 12.5)):
        lungs[((z - 11.5) / 10) ** 2 + ((y - 20) / 11) ** 2 + ((x - middle) / 8) ** 2 <= 1] = label
    scan[lungs > 0] = -850
    scan[:, 30:36, 22:26] = 900  # the spine, at the back
    labels = np.zeros(SHAPE, np.uint8)
    for number, (start, stop) in BOXES.items():
        labels[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = number
    scan[labels > 0] = 30
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], [0, 1, 2, 3]] = [*SPACING, 1.0]
    affine[:3, 3] = (-70.0, -80.0, -300.0)
    volume = Volume(scan, affine)
    return Thorax(volume, volume.with_voxels(labels), volume.with_voxels(lungs), make_findings(volume, labels))


def make_findings(scan: Volume, labels: np.ndarray) -> Findings:
    lesions = tuple(_box_lesion(scan, number) for number in BOXES if (labels == number).any())
    total = sum(lesion.volume_ml for lesion in lesions)
    sides = {s: [m.volume_ml for m in lesions if m.side == s] for s in ("left", "right")}
    left, right = (SideBurden(len(v), sum(v), 0.4) for v in sides.values())
    return Findings(
        scan=ScanInfo("patient_7.nii.gz", scan.shape, scan.spacing_mm),
        origin=Origin("tumorspread 0.1.0", "network", "lung-v1", "ab" * 32, 0.5, "2026-01-31T12:00:00Z"),
        lungs=Lungs(612.0, 734.6, 1346.6),
        lesions=lesions,
        burden=Burden(len(lesions), total, 0.4, sum(m.long_axis_mm for m in lesions)),
        spread=Spread(left, right, 2, 1, 97.3, 78.4, 78.4),
        warnings=(Remark("lossy", "The scan was compressed with loss."),),
    )


def _box_lesion(scan: Volume, number: int) -> Lesion:
    """The box's two middle lines: they end on its faces, half a voxel beyond the outer centres."""
    start, stop = (np.array(corner, float) for corner in BOXES[number])
    middle = (start + stop - 1) / 2
    axial = int(start[0])
    ends = {}
    for axis in (1, 2):
        pair = np.array([middle, middle])
        pair[:, 0] = axial
        pair[:, axis] = start[axis] - 0.5, stop[axis] - 0.5
        ends[axis] = tuple(tuple(float(c) for c in point) for point in scan.to_world(pair))
    lengths = (stop - start) * SPACING
    count = int(np.prod(stop - start))
    return Lesion(
        id=number,
        voxel_count=count,
        volume_ml=count * scan.voxel_ml,
        long_axis_mm=float(lengths[2]),
        long_axis_ends_mm=ends[2],
        short_axis_mm=float(lengths[1]),
        short_axis_ends_mm=ends[1],
        axial_slice=axial,
        centroid_mm=tuple(float(c) for c in scan.to_world(middle)),
        side="left" if number == 1 else "right",
        lung_share_percent=0.5,
        mean_hu=30.0,
        flags=("outside_lungs",) if number == 2 else (),
    )
