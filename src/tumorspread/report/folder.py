"""A result folder: everything one command leaves behind, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tumorspread.errors import OutputError
from tumorspread.measurement.hits import compare_lesions
from tumorspread.measurement.summary import CaseScore, Evaluation
from tumorspread.pipeline import Analysis
from tumorspread.report.comparison import comparison_figure, masks_figure
from tumorspread.report.page import course_page, evaluation_page, report_page
from tumorspread.report.pdf import write_pdf
from tumorspread.report.sheets import slices_comparison_figure
from tumorspread.report.tables import evaluation_csv, lesions_csv, radiomics_csv, tracks_csv
from tumorspread.scan.nifti import read_nifti, write_nifti
from tumorspread.scan.read import read_mask
from tumorspread.scan.volume import Volume

if TYPE_CHECKING:
    from tumorspread.followup.follow import Course

# What says that a folder was written by `write_analysis`, `write_evaluation` or `write_course`.
RESULTS = {"findings.json", "evaluation.json", "followup.json"}
# Cases pictured besides the worst, the median and the best: enough to look at, not a gigabyte.
MOST_PICTURED = 50


@dataclass(frozen=True)
class Files:
    """Where a compared case lies: scan, true mask, predicted mask."""

    image: Path
    truth: Path
    predicted: Path


@contextmanager
def open_folder(out: Path, *, force: bool = False) -> Iterator[Path]:
    """A folder to write into that becomes `out` when the block ends well, and vanishes when it does not.

    Args:
        out: the result folder.
        force: replace the results that are there; they stay until the new ones are whole.

    Raises:
        OutputError: see `check_free`; or `out` cannot be written.
    """
    out = check_free(out, force=force)
    # In the nearest folder that is there, so that a refusal leaves no empty parents behind.
    unfinished = next(p for p in out.parents if p.exists()) / f".{out.name}.{os.getpid()}.part"
    try:
        unfinished.mkdir()
        yield unfinished
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.is_dir():
            old = out.with_name(f".{out.name}.{os.getpid()}.old")
            os.replace(out, old)
            os.replace(unfinished, out)
            shutil.rmtree(old)
        else:
            os.replace(unfinished, out)
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def check_free(out: Path, *, force: bool = False) -> Path:
    """The absolute path of a result folder that overwrites nothing, asked before the work that fills it.

    Raises:
        OutputError: a file of that name, the folder the user is in, a folder that is not empty and no `force`,
            or with `force` one that holds something else than results: a patient's folder with the scan in it
            must not be replaced by the answer.
    """
    try:
        resolved = out.resolve()
        held = {path.name for path in resolved.iterdir()} if resolved.exists() else set()
    except NotADirectoryError as error:
        raise OutputError(f"{out} is a file, or lies in one; name a folder for the results") from error
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}") from error
    if Path.cwd().is_relative_to(resolved):
        raise OutputError(f"{out} is the folder you are in, or above it; name a new folder for the results")
    if held and not held & RESULTS:
        raise OutputError(f"{out} is not empty and holds no results of tumorspread; name a new folder")
    if held and not force:
        raise OutputError(f"{out} is not empty; name a new folder, or replace it with --force")
    return resolved


def write_picture(picture: bytes, path: Path) -> None:
    """Write a PNG; the file appears whole or not at all.

    Raises:
        OutputError: the folder cannot be written to.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(picture)
        os.replace(unfinished, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


def write_analysis(analysis: Analysis, folder: Path, *, reference: Volume | None = None, pdf: bool = False) -> None:
    """Write `mask.nii.gz`, `lesions.nii.gz` (its numbered pieces), `findings.json`, `lesions.csv`, `report.html`.

    And `lungs.nii.gz` where lungs were found (1 left, 2 right), `radiomics.csv` where features were asked for.

    Args:
        analysis: the result.
        folder: to write into.
        reference: mask of 0 and 1 on the scan's grid to compare with in the report.
        pdf: also write `report.pdf`.

    Raises:
        MaskError: the reference is no mask of this scan.
        OutputError: a PDF is asked for and cannot be written.
    """
    volumes = {"mask": analysis.mask, "lesions": analysis.lesions, "lungs": analysis.lungs}
    # Packing them takes a thread of its own while the report is drawn.
    with ThreadPoolExecutor(1) as pool:
        packed = [
            pool.submit(write_nifti, volume, folder / f"{name}.nii.gz")
            for name, volume in volumes.items()
            if volume is not None
        ]
        _write_texts(analysis, folder, reference, pdf)
        for done in packed:
            done.result()


def _write_texts(analysis: Analysis, folder: Path, reference: Volume | None, pdf: bool) -> None:
    (folder / "findings.json").write_text(analysis.findings.to_json(), encoding="utf-8")
    (folder / "lesions.csv").write_text(lesions_csv(analysis.findings), encoding="utf-8")
    if any(lesion.radiomics for lesion in analysis.findings.lesions):
        (folder / "radiomics.csv").write_text(radiomics_csv(analysis.findings), encoding="utf-8")
    comparison = None if reference is None else compare_lesions(analysis.lesions, reference)
    page = report_page(analysis.findings, analysis.scan, analysis.lesions, analysis.lungs, comparison)
    _write_report(page, folder, pdf)


def _write_report(page: str, folder: Path, pdf: bool) -> None:
    (folder / "report.html").write_text(page, encoding="utf-8")
    if pdf:
        write_pdf(page, folder / "report.pdf")


def write_course(course: Course, folder: Path, *, pdf: bool = False) -> None:
    """Write `followup.json`, `tracks.csv` and `report.html`; with `pdf` also `report.pdf`."""
    (folder / "followup.json").write_text(course.followup.to_json(), encoding="utf-8")
    (folder / "tracks.csv").write_text(tracks_csv(course.followup), encoding="utf-8")
    _write_report(course_page(course), folder, pdf)


def write_evaluation(evaluation: Evaluation, files: dict[str, Files], folder: Path, *, volumes: bool) -> None:
    """Write `evaluation.csv`, `.json` and `.html`, and `pictures/`.

    Args:
        evaluation: the scores.
        files: of each case, by name.
        folder: to write into.
        volumes: whether the cases are volumes, or stacks of independent slices.
    """
    (folder / "evaluation.csv").write_text(evaluation_csv(evaluation), encoding="utf-8")
    (folder / "evaluation.json").write_text(evaluation.to_json(), encoding="utf-8")
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    for score in evaluation.cases[:MOST_PICTURED]:
        _write_pictures(score.case, files[score.case], pictures, volumes)
    chosen = []
    for rank, score in pick_examples(evaluation.cases):
        title = f"{rank}: {score.case}, Dice {_shown(score)}"
        chosen.append((title, _compare(files[score.case], title, volumes)))
        (pictures / f"{rank}_{score.case}.png").write_bytes(chosen[-1][1])
    (folder / "evaluation.html").write_text(evaluation_page(evaluation, chosen), encoding="utf-8")


def pick_examples(scores: Sequence[CaseScore]) -> list[tuple[str, CaseScore]]:
    """The worst, the median and the best case by Dice; fewer where there are fewer. Cases without Dice are out."""
    ranked = sorted((s for s in scores if s.metrics.dice is not None), key=lambda s: (s.metrics.dice or 0.0, s.case))
    places = {"worst": 0, "median": len(ranked) // 2, "best": len(ranked) - 1}
    picked: dict[int, str] = {}
    for rank, place in places.items():
        if ranked:
            picked.setdefault(place, rank)
    return [(rank, ranked[place]) for place, rank in picked.items()]


def _write_pictures(case: str, files: Files, pictures: Path, volumes: bool) -> None:
    """The truth alone, the prediction alone, and both compared."""
    (pictures / f"{case}_comparison.png").write_bytes(_compare(files, case, volumes))
    if volumes:
        scan = read_nifti(files.image)
        for kind, path in (("truth", files.truth), ("prediction", files.predicted)):
            figure = masks_figure(scan, read_mask(path, scan), f"{case}: {kind}")
            (pictures / f"{case}_{kind}.png").write_bytes(figure)


def _compare(files: Files, title: str, volumes: bool) -> bytes:
    scan = read_nifti(files.image)
    truth, predicted = read_mask(files.truth, scan), read_mask(files.predicted, scan)
    if volumes:
        return comparison_figure(scan, truth, predicted, title=title)
    gray = scan.with_voxels(np.asarray(scan.voxels, np.float32))
    return slices_comparison_figure(gray, truth, predicted, title=title)


def _shown(score: CaseScore) -> str:
    return "none" if score.metrics.dice is None else f"{score.metrics.dice:.3f}"
