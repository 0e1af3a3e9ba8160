"""What weights find in chests that they were not trained on: real tumours, synthetic ones in real chests, and none.

Prints a table, then lines `name value` for all that was left out of a training: a case of a patient that was trained on
is not judged. WEIGHTS is a file, with the patients that it has not seen named by `--left-out`, or a folder with a file
PATIENT.safetensors for each that was left out, as `make weights` leaves it; the other scans are then judged by `lung`.
Usage: python bench/model_report.py WEIGHTS [--left-out PATIENT ...] [--data FOLDER] [--pictures FOLDER] [--tumours N]
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from variants import resample_mask, variants

from tumorspread import Analysis, Volume, analyse, read, read_mask
from tumorspread.data.acquisition import AcquisitionConfig
from tumorspread.data.convert import convert_patches
from tumorspread.data.hosts import find_list, read_hosts
from tumorspread.data.implant import ImplantConfig
from tumorspread.data.implant_set import ImplantCase, ImplantSetConfig, make_case
from tumorspread.data.shapes import ShapeLibrary
from tumorspread.evaluate import Job, evaluate
from tumorspread.measurement.metrics import FOUND_SHARE
from tumorspread.measurement.pieces import drop_unknown
from tumorspread.model.candidates import expected_calibration_error
from tumorspread.model.predict import Predictor
from tumorspread.report.folder import write_analysis

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
READERS = tuple(f"LIDC-IDRI-0314_reader{n}" for n in range(1, 5))
# Volumes in Lung_Dx_boxes.csv, and the scans they are of.
BOXED = {
    "Lung_Dx-A0001_s3": ("Lung_Dx-A0001", "scans/Lung_Dx-A0001_s3.nii.gz"),
    "Lung_Dx-A0002_s2": ("Lung_Dx-A0002", "dicom/Lung_Dx-A0002_B70f"),
    "Lung_Dx-A0002_s3": ("Lung_Dx-A0002", "dicom/Lung_Dx-A0002_B40f"),
}
# Scans without a reference: what is found in them is listed, to be looked at.
LISTED = {
    "CIP-ct64": "dicom/CIP-ct64",
    "ACRIN-FLT-001": "scans/ACRIN-FLT-001_19600101_2.nii.gz",
    "LungFCP-01-0001": "scans/LungFCP-01-0001.nii.gz",
    "elastix_baseline": "scans/elastix_rightlung_baseline.nii.gz",
    "elastix_followup": "scans/elastix_rightlung_followup.nii.gz",
}
SEED = 1000


@dataclass(frozen=True)
class Judge:
    """The data, and the weights: by patient those that have not seen the patient, and under "" those for all others."""

    predictors: dict[str, Predictor]
    data: Path
    pictures: Path | None
    tumours: int = 50

    @property
    def unseen(self) -> tuple[str, ...]:
        """The patients that are judged."""
        return tuple(patient for patient in self.predictors if patient)

    def look(self, name: str, scan: Volume, patient: str = "") -> Analysis:
        """Analyse a scan, and keep the result where pictures are wanted."""
        analysis = analyse(scan, self.predictors[patient], source=name)
        burden = analysis.findings.burden
        lesions = ", ".join(f"{n.volume_ml:.2f}" for n in analysis.findings.lesions[:6])
        print(f"{name:<28}{burden.count:>8}{burden.volume_ml:>12.2f}   {lesions}", flush=True)
        if self.pictures is not None:
            (self.pictures / name).mkdir(parents=True, exist_ok=True)
            write_analysis(analysis, self.pictures / name)
        return analysis


def main(judge: Judge) -> None:
    """Print the table and the figures."""
    print(f"{'scan':<28}{'lesions':>8}{'volume mL':>12}   largest lesions mL")
    figures: dict[str, float] = {}
    for part in PARTS:
        figures |= part(judge)
    print()
    for patient, predictor in judge.predictors.items():
        fitted = predictor.info.detection.fitted if predictor.info.detection else "nothing"
        print(f"{patient or 'others'}: {predictor.info.name}, calibrated by {fitted}; {predictor.engine.precision}")
    for name, value in figures.items():
        print(f"{name} {value:.3f}")


def lidc(judge: Judge) -> dict[str, float]:
    """Dice with the consensus, and what the four readers have."""
    if "LIDC-IDRI-0314" not in judge.unseen:
        return {}
    scan = read(judge.data / "scans" / "LIDC-IDRI-0314.nii.gz")
    consensus = read_mask(judge.data / "scans" / "LIDC-IDRI-0314_nodule.nii.gz", scan).voxels > 0
    readers = [read_mask(judge.data / "scans" / f"{name}.nii.gz", scan).voxels > 0 for name in READERS]
    found = judge.look("LIDC-IDRI-0314", scan, "LIDC-IDRI-0314").lesions.voxels
    touching = np.unique(found[consensus & (found > 0)])
    return {
        "lidc_dice": dice(np.isin(found, touching) & (found > 0), consensus),
        "lidc_reader_dice": float(np.mean([dice(reader, consensus) for reader in readers])),
        "lidc_other_lesions": float(found.max() - len(touching)),
    }


def pat4(judge: Judge) -> dict[str, float]:
    """Dice with the oncologist's contours of a mass of 125 mL; never trained on."""
    scan = read(judge.data / "scans" / "RadPhantom-pat4.nii.gz")
    truth = read_mask(judge.data / "scans" / "RadPhantom-pat4_gtv.nii.gz", scan).voxels > 0
    return {"pat4_dice": dice(judge.look("RadPhantom-pat4", scan).mask.voxels > 0, truth)}


def lung_dx(judge: Judge) -> dict[str, float]:
    """The share of box slices in which tumour was found in the box, and the volumes by two kernels."""
    boxes = read_boxes(judge.data / "scans" / "Lung_Dx_boxes.csv")
    hits: list[bool] = []
    volumes = {}
    for name, (patient, path) in BOXED.items():
        if patient not in judge.unseen:
            continue
        scan = read(judge.data / path)
        found = judge.look(f"{patient}_{name[-2:]}", scan, patient).lesions
        inside = set()
        for z, (x0, y0, x1, y1) in boxes[name]:
            labels = found.voxels[z, y0 : y1 + 1, x0 : x1 + 1]
            hits.append(bool((labels > 0).mean() >= FOUND_SHARE))
            inside |= set(np.unique(labels[labels > 0]).tolist())
        volumes[name] = float(np.isin(found.voxels, sorted(inside)).sum()) * scan.voxel_ml if inside else 0.0
    figures = {"lung_dx_box_slices_found": float(np.mean(hits))} if hits else {}
    sharp, soft = volumes.get("Lung_Dx-A0002_s2"), volumes.get("Lung_Dx-A0002_s3")
    if sharp and soft:
        figures["lung_dx_kernel_volume_ratio"] = sharp / soft
    return figures


def negative(judge: Judge) -> dict[str, float]:
    """What is found in a chest taken for healthy; 3 mL in its right lung, slices 28 to 34, are a real nodule."""
    if "CPTAC-C3N-00247" not in judge.unseen:
        return {}
    scan = read(judge.data / "scans" / "CPTAC-C3N-00247.nii.gz")
    return {"negative_fp": float(judge.look("CPTAC-C3N-00247", scan, "CPTAC-C3N-00247").findings.burden.count)}


def listed(judge: Judge) -> dict[str, float]:
    """What is found in scans of which nobody knows; all but CIP-ct64 are hosts of the training."""
    for name, path in LISTED.items():
        judge.look(name, read(judge.data / path))
    return {}


def stability(judge: Judge) -> dict[str, float]:
    """The least Dice between the mask of a scan and those of the same scan as others would have taken or stored it.

    The scan is LIDC-IDRI-0314 with its real nodule and synthetic tumours; the masks meet on its grid of 1 mm.
    """
    hosts = [host for host in read_hosts(find_list("shipped")) if host.name == "LIDC-IDRI-0314"]
    if hosts[0].who not in judge.unseen:
        return {}
    plain = AcquisitionConfig(slice_mm=(0.0,), size=(1.0, 1.0), kernel_p=0.0, dose_p=0.0, pixel_mm=0.1)
    made = ImplantConfig(lesions=(6, 6), masses=1)
    config = ImplantSetConfig((hosts[0],), judge.data, judge.data / "lesion_masks", SEED, plain, made, empty_p=0.0)
    case = make_case(3, config, ShapeLibrary.read(judge.data / "lesion_masks"))
    scan = case.scan
    mask = without_unknown(judge.look("stability", scan, hosts[0].who).mask.voxels > 0, case)
    figures = {}
    for name, other in variants(scan):
        back = resample_mask(judge.look(f"stability_{name}", other, hosts[0].who).mask, scan)
        figures[f"stability_{name}"] = dice(without_unknown(back, case), mask)
    return {**figures, "stability_dice": min(figures.values())}


def msd_patches(judge: Judge) -> dict[str, float]:
    """Mean Dice per patient of the 2-D weights on patches of MSD patients that they have not seen."""
    source = judge.data / "msd_patches"
    with tempfile.TemporaryDirectory() as place:
        data = convert_patches(source, Path(place) / "patches")
        job = Job(data, "test", Path(place) / "masks")
        # The 2-D branch that comes with the package, whatever weights are judged.
        return {"msd_patch_dice": evaluate(Predictor("msd-patches"), job).summary["dice"].mean or 0.0}


def synthetic(judge: Judge) -> dict[str, float]:
    """Tumours put into the chests of unseen patients: recall by size, Dice, false lesions, calibration."""
    sizes, was_found, owners, dices, false, likely, is_tumour = [], [], [], [], [], [], []
    for patient, name, case in synthetic_cases(judge):
        analysis = judge.look(name, case.scan, patient)
        labels, truth = analysis.lesions.voxels, case.mask.voxels > 0
        labels = np.where(without_unknown(labels > 0, case), labels, 0)
        for lesion in case.lesions:
            near = ball(case.mask, lesion.centre_mm, lesion.diameter_mm / 2) & truth
            sizes.append(lesion.diameter_mm)
            owners.append(patient)
            was_found.append(bool((labels[near] > 0).mean() >= FOUND_SHARE) if near.any() else False)
        shown, right = (set(np.unique(labels[where & (labels > 0)]).tolist()) for where in (True, truth))
        false.append(len(shown - right))
        dices.append(dice(labels > 0, truth))
        for n in analysis.findings.lesions:
            if n.probability is not None and n.id in shown:
                likely.append(n.probability)
                is_tumour.append(n.id in right)
    if not sizes:
        return {}
    size, hit, owner = np.array(sizes), np.array(was_found), np.array(owners)
    for patient in judge.unseen:
        for low, high in pairwise((0, 5, 10, 20, 50, 1000)):
            which = (owner == patient) & (size >= low) & (size < high)
            print(f"{patient:<28}{low:>4} to {high:>4} mm: found {hit[which].sum()} of {which.sum()}")
    figures = {
        "synthetic_tumours": float(len(size)),
        "synthetic_recall_10mm": float(hit[size >= 10].mean()),
        "synthetic_recall_5_10mm": float(hit[(size >= 5) & (size < 10)].mean()),
        "synthetic_dice": float(np.mean(dices)),
        "synthetic_fp_per_scan": float(np.mean(false)),
    }
    if likely:
        figures["lesion_ece"] = expected_calibration_error(np.array(likely), np.array(is_tumour))
    return figures


def without_unknown(found: np.ndarray, case: ImplantCase) -> np.ndarray:
    """A mask without what lies where the host may have a tumour that nobody outlined."""
    return found if case.ignored is None else drop_unknown(found, case.mask.voxels > 0, case.ignored.voxels > 0)


def synthetic_cases(judge: Judge) -> Iterator[tuple[str, str, ImplantCase]]:
    """Cases in each unseen patient until that one has enough tumours."""
    shapes = judge.data / "lesion_masks"
    library = ShapeLibrary.read(shapes)
    for patient in judge.unseen:
        hosts = tuple(host for host in read_hosts(find_list("shipped")) if host.who == patient)
        config = ImplantSetConfig(hosts, judge.data, shapes, SEED, empty_p=0.0)
        number = count = 0
        while count < judge.tumours:
            case = make_case(number, config, library)
            yield patient, f"{patient}_synthetic_{number}", case
            number, count = number + 1, count + len(case.lesions)


def load(weights: Path, left_out: list[str]) -> dict[str, Predictor]:
    """The weights by patient; see `Judge`."""
    files = {path.stem: path for path in sorted(weights.glob("*.safetensors"))} if weights.is_dir() else {}
    if not files:
        return dict.fromkeys(("", *left_out), Predictor(weights))
    if unknown := set(left_out) - set(files):
        sys.exit(f"{weights} has no weights for {', '.join(sorted(unknown))}")
    chosen = {patient: path for patient, path in files.items() if not left_out or patient in left_out}
    return {"": Predictor("lung"), **{patient: Predictor(path) for patient, path in chosen.items()}}


def ball(grid: Volume, centre_mm: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """The voxels within a radius of a point."""
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    return np.linalg.norm(points - np.array(centre_mm), axis=-1) <= max(radius_mm, max(grid.spacing_mm))


def read_boxes(path: Path) -> dict[str, list[tuple[int, tuple[int, int, int, int]]]]:
    """By volume: slice, and the box x0, y0, x1, y1 in it."""
    boxes: dict[str, list[tuple[int, tuple[int, int, int, int]]]] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            corners = (int(row["xmin"]), int(row["ymin"]), int(row["xmax"]), int(row["ymax"]))
            boxes.setdefault(row["volume"], []).append((int(row["slice_index"]), corners))
    return boxes


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Twice the overlap over the sum of both; 0 for two empty masks, where nothing was found."""
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / total if total else 0.0


PARTS = (lidc, pat4, lung_dx, negative, listed, stability, msd_patches, synthetic)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    parser.add_argument("--left-out", action="append", default=[])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TUMORSPREAD_TEST_DATA", BESIDE)))
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--tumours", type=int, default=50, help="synthetic ones in each patient that was left out")
    asked = parser.parse_args()
    if not (asked.data / "scans").is_dir():
        sys.exit(f"no real scans at {asked.data}; name the folder with --data")
    main(Judge(load(asked.weights, asked.left_out), asked.data, asked.pictures, asked.tumours))
