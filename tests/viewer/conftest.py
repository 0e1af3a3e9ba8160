"""A measured phantom as a result folder, a viewer over it, and how findings are compared."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest

from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.measurement.measured import measure_labels, measure_mask
from tumorspread.pipeline import measure
from tumorspread.report.folder import write_analysis
from tumorspread.report.scan_note import note_scan
from tumorspread.scan.nifti import write_nifti
from tumorspread.scan.read import read
from tumorspread.viewer.case import Case
from tumorspread.viewer.shelf import Shelf

COARSE = PhantomConfig(spacing_mm=(5.0, 4.0, 4.0), tumours=(3, 3), diameter_mm=(24.0, 46.0), vessels=4)


@pytest.fixture(scope="session")
def first_result(tmp_path_factory):
    """A phantom with three tumours, measured as `measure` does."""
    folder = tmp_path_factory.mktemp("viewer")
    phantom = make_phantom(5, COARSE)
    write_nifti(phantom.scan, folder / "ct.nii.gz")
    analysis = measure(folder / "ct.nii.gz", phantom.mask)
    (folder / "result").mkdir()
    write_analysis(analysis, folder / "result")
    note_scan(folder / "result", folder / "ct.nii.gz")
    return folder


@pytest.fixture(scope="session")
def lungs(first_result):
    return segment_lungs(read(first_result / "ct.nii.gz"))


@pytest.fixture
def result(first_result, tmp_path):
    """The result folder, for one test."""
    shutil.copytree(first_result / "result", tmp_path / "result")
    return tmp_path / "result"


@pytest.fixture
def shelf(result):
    with_case = Shelf()
    with_case.add(result)
    yield with_case
    with_case.close()


@pytest.fixture
def case(shelf) -> Case:
    return shelf.open("result")


def runs_of(mask):
    """The runs of a mask (z, y, x) as a page sends them."""
    flat = np.flatnonzero(np.asarray(mask).ravel())
    starts = np.flatnonzero(np.diff(flat, prepend=-2) != 1)
    return tuple((int(flat[a]), int(b - a)) for a, b in zip(starts, [*starts[1:], len(flat)], strict=True))


def ball(case, centre_zyx, radius_mm):
    """A ball about a voxel, as a mask on the grid of the case."""
    z, y, x = np.ogrid[tuple(slice(0, n) for n in case.scan.shape)]
    away = [((at - c) * mm) ** 2 for at, c, mm in zip((z, y, x), centre_zyx, case.scan.spacing_mm, strict=True)]
    return sum(away) <= radius_mm**2


def comparable(findings):
    """Findings with lesions called by rank: without what an edit adds, and without ids."""
    rank = {lesion.id: place for place, lesion in enumerate(findings.lesions, 1)}

    def called(text):
        def again(match):
            return match[1] + ", ".join(str(rank[int(n)]) for n in match[2].split(", "))

        return re.sub(r"(lesions? )(\d+(?:, \d+(?![\d.]))*)", again, text)

    def walk(value, name=""):
        if isinstance(value, dict):
            return {key: walk(inner, key) for key, inner in value.items() if key != "probability"}
        if isinstance(value, list | tuple):
            return [walk(inner, name) for inner in value]
        if isinstance(value, str):
            return called(value) if "rule" in name or name in ("count", "volume_ml", "lung_fraction_percent") else value
        is_id = name in ("id", "dominant_id", "nearest_lesion_id", "satellite_ids", "target_ids")
        return rank[value] if is_id and value is not None else value

    found = asdict(findings)
    return walk({name: found[name] for name in ("lungs", "lesions", "burden", "spread", "stage", "warnings")})


def oracle(case):
    """What `measure` gives for the mask as it is now."""
    return measure(case.scan, case.scan.with_voxels((case.lesions.labels > 0).astype(np.uint8))).findings


def measured_again(case, lungs):
    """What `measure_labels` gives for the map as it is now, lesions renumbered by size; as findings."""
    order = {lesion.id: rank for rank, lesion in enumerate(case.findings.lesions, 1)}
    table = np.zeros(case.lesions.last_id + 1, np.uint16)
    for number, rank in order.items():
        table[number] = rank
    found = measure_labels(case.scan, case.scan.with_voxels(table[case.lesions.labels]), lungs=lungs)
    return replace(
        case.findings,
        lungs=found.lungs,
        lesions=found.lesions,
        burden=found.burden,
        spread=found.spread,
        stage=found.stage,
        warnings=(*case.scan.remarks, *found.remarks),
    )


def pieces_again(case, lungs):
    """What `measure_mask` gives for the mask as it is now; as findings."""
    found = measure_mask(case.scan, case.scan.with_voxels((case.lesions.labels > 0).astype(np.uint8)), lungs=lungs)
    return replace(
        case.findings,
        lungs=found.lungs,
        lesions=found.lesions,
        burden=found.burden,
        spread=found.spread,
        stage=found.stage,
        warnings=(*case.scan.remarks, *found.remarks),
    )
