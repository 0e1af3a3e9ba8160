"""What weights find in chests that they were not trained on: real tumours, synthetic ones in real chests, and none.

Prints a table, then lines `name value` for all that was left out of a training: a case of a patient that was trained on
is not judged. WEIGHTS is a file, with the patients that it has not seen named by `--left-out`, or a folder with a file
PATIENT.safetensors for each that was left out, as `make weights` leaves it; the other scans are then judged by `lung`.
Usage: python bench/model_report.py WEIGHTS [--left-out PATIENT ...] [--data FOLDER] [--pictures FOLDER] [--tumours N]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from synthetic_tumours import AS_TAKEN, SEED, SyntheticSet, dice, judge_synthetic, without_unknown
from variants import resample_mask, variants

from tumorspread import Analysis, Volume, analyse, read, read_mask
from tumorspread.data.acquisition import AcquisitionConfig
from tumorspread.data.boxes import read_boxes
from tumorspread.data.convert import convert_patches
from tumorspread.data.hosts import find_list, read_hosts
from tumorspread.data.implant import ImplantConfig
from tumorspread.data.implant_set import ImplantSetConfig, make_case
from tumorspread.data.shapes import ShapeLibrary
from tumorspread.evaluate import Job, evaluate
from tumorspread.measurement.metrics import FOUND_SHARE
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
UNSEEN_HOSTS = Path(__file__).parent / "unseen_hosts.toml"


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
        analysis = analyse(scan, self.predictors.get(patient, self.predictors[""]), source=name)
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
    """What is found in a chest taken for healthy: in all, and beside the nodules that it turned out to have.

    These are the boxes that the list of hosts ignores.
    """
    patient = "CPTAC-C3N-00247"
    if patient not in judge.unseen:
        return {}
    scan = read(judge.data / "scans" / f"{patient}.nii.gz")
    found = judge.look(patient, scan, patient)
    (host,) = (host for host in read_hosts(find_list("shipped")) if host.who == patient)
    beside = set(range(1, found.findings.burden.count + 1))
    for z0, z1, y0, y1, x0, x1 in host.ignore:
        beside -= set(np.unique(found.lesions.voxels[z0:z1, y0:y1, x0:x1]).tolist())
    return {"negative_fp": float(found.findings.burden.count), "negative_fp_beside_nodules": float(len(beside))}


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
    made = ImplantConfig(lesions=(6, 6), masses=1)
    config = ImplantSetConfig((hosts[0],), judge.data, judge.data / "lesion_masks", SEED, AS_TAKEN, made, empty_p=0.0)
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
    """Tumours put into chests of unseen patients; into those chests as they were taken; into others, judging `lung`."""
    hosts = read_hosts(find_list("shipped"))
    unseen = {patient: tuple(host for host in hosts if host.who == patient) for patient in judge.unseen}
    elsewhere = {host.who: (host,) for host in read_hosts(UNSEEN_HOSTS)}
    figures: dict[str, float] = {}
    for kind, patients, acquisition in (
        ("synthetic", unseen, AcquisitionConfig()),
        ("plain", unseen, AS_TAKEN),
        ("shipped", elsewhere, AcquisitionConfig()),
    ):
        asked = SyntheticSet(kind, patients, judge.data, acquisition, judge.tumours)
        figures |= judge_synthetic(asked, judge.look)
    return figures


def load(weights: Path, left_out: list[str]) -> dict[str, Predictor]:
    """The weights by patient; see `Judge`."""
    files = {path.stem: path for path in sorted(weights.glob("*.safetensors"))} if weights.is_dir() else {}
    if not files:
        return dict.fromkeys(("", *left_out), Predictor(weights))
    if unknown := set(left_out) - set(files):
        sys.exit(f"{weights} has no weights for {', '.join(sorted(unknown))}")
    chosen = {patient: path for patient, path in files.items() if not left_out or patient in left_out}
    return {"": Predictor("lung"), **{patient: Predictor(path) for patient, path in chosen.items()}}


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
