"""Verbs on one scan: analyse, measure, predict, convert.

Everything heavy is imported inside the verbs, so that `--help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorspread.cli.deidentify import open_deidentifier, warn_of_pixels, without_names
from tumorspread.cli.options import (
    AsJson,
    Device,
    Engine,
    Force,
    KeyFile,
    Lobes,
    MaxRam,
    OperatingPoint,
    OutFolder,
    Pdf,
    Precision,
    Radiomics,
    Reference,
    Rtstruct,
    ScanPath,
    Series,
    Split,
    Threads,
    Threshold,
    TiltedGantry,
    WriteDicom,
)
from tumorspread.cli.results import check_pdf, finish, read_reference
from tumorspread.cli.terminal import parse_pair, parse_triple, progress_bar, refuse_existing, say
from tumorspread.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tumorspread.measurement.measured import MeasureOptions
    from tumorspread.pipeline import Analysis
    from tumorspread.scan.deidentify import Deidentifier
    from tumorspread.scan.volume import Volume


def analyse(
    scan: ScanPath,
    out: OutFolder,
    weights: Annotated[
        str, typer.Option("--weights", "-w", help="Weights file, or `lung`: those that come with the package.")
    ] = "lung",
    threshold: Threshold = None,
    point: OperatingPoint = "balanced",
    dust: Annotated[float, typer.Option(help="Leave out pieces of less mm3; a ball of 3 mm has 14.1.", min=0)] = 14.1,
    split: Split = False,
    radiomics: Radiomics = False,
    lobes: Lobes = None,
    reference: Reference = None,
    pdf: Pdf = False,
    series: Series = None,
    tilt: TiltedGantry = "resample",
    dicom: WriteDicom = None,
    rtstruct: Rtstruct = False,
    deidentify: KeyFile = None,
    device: Device = None,
    engine: Engine = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    max_ram: MaxRam = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Find and measure the tumours of a chest CT.

    Writes mask.nii.gz, lesions.nii.gz, lungs.nii.gz, findings.json, lesions.csv and report.html into the folder; of a
    scan in DICOM also seg.dcm and report-sr.dcm.

    \b
    Examples:
      tumorspread analyse ct.nii.gz -o result
      tumorspread analyse dicom_folder/ -o result -w weights.safetensors --json
      tumorspread analyse ct.nii.gz -o result --reference drawn.nii.gz --pdf
      tumorspread analyse dicom_folder/ -o result --rtstruct --deidentify ~/study.key
    """
    from tumorspread import pipeline
    from tumorspread.clock import Clock
    from tumorspread.model.predict import Predictor
    from tumorspread.report.folder import open_folder
    from tumorspread.scan.read import read

    check_pdf(pdf)
    deidentifier = None if deidentify is None else open_deidentifier(deidentify)
    if deidentifier is not None:
        warn_of_pixels(scan, series)
    write_results = _dicom_writer(scan, series, dicom, rtstruct, deidentifier)
    with open_folder(out, force=force) as folder:
        predictor = Predictor(
            weights, device=device, engine=engine, precision=precision, threads=threads, max_ram_gib=max_ram
        )
        clock = Clock()
        with clock.stage("read"):
            volume = read(scan, series=series, tilt=tilt)
        compared = read_reference(reference, volume)
        source = scan.name
        if deidentifier is not None:
            volume, source = without_names(volume), deidentifier.pseudonym(source)
        with progress_bar("segmenting") as progress:
            analysis = pipeline.analyse(
                volume,
                predictor,
                source=source,
                threshold=threshold,
                point=point,
                options=_options(volume, dust, split, radiomics, lobes),
                progress=progress,
            )
        if deidentifier is not None:
            analysis = analysis.undated()
        write_results(analysis, folder)
        finish(analysis.timed(clock), folder, out, as_json, reference=compared, pdf=pdf)


def measure(
    scan: ScanPath,
    mask: Annotated[Path, typer.Argument(help="NIfTI mask on the scan's grid, DICOM SEG or RTSTRUCT.")],
    out: OutFolder,
    label: Annotated[
        int | None,
        typer.Option(
            help="Which value is tumour in a NIfTI mask, or which segment by its number in a SEG, with several."
        ),
    ] = None,
    roi: Annotated[
        str | None, typer.Option(help="Which ROI of an RTSTRUCT or segment of a SEG is tumour, with several.")
    ] = None,
    dust: Annotated[float, typer.Option(help="Leave out pieces of less mm3; by default none.", min=0)] = 0.0,
    split: Split = False,
    radiomics: Radiomics = False,
    lobes: Lobes = None,
    reference: Reference = None,
    pdf: Pdf = False,
    series: Series = None,
    tilt: TiltedGantry = "resample",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Measure a mask that is already there.

    Writes the same files as `analyse`.

    \b
    Examples:
      tumorspread measure ct.nii.gz tumour.nii.gz -o result
      tumorspread measure dicom_folder/ rtstruct.dcm -o result --roi GTV-1
      tumorspread measure ct.nii.gz tumour.nii.gz -o result --lobes lobes.nii.gz --split --radiomics
    """
    from tumorspread import pipeline
    from tumorspread.report.folder import open_folder
    from tumorspread.scan.read import read, read_mask

    check_pdf(pdf)
    with open_folder(out, force=force) as folder:
        volume = read(scan, series=series, tilt=tilt)
        compared = read_reference(reference, volume)
        drawn = read_mask(mask, volume, label=label, roi=roi)
        analysis = pipeline.measure(
            volume,
            drawn,
            source=scan.name,
            mask_source=mask.name,
            options=_options(volume, dust, split, radiomics, lobes),
        )
        finish(analysis, folder, out, as_json, reference=compared, pdf=pdf)


def predict(
    weights: Annotated[str, typer.Argument(help="Weights file of `tumorspread train`, or `lung`.")],
    scan: ScanPath,
    out: Annotated[Path, typer.Option("--out", "-o", help="Mask to write, .nii.gz.")],
    probability: Annotated[bool, typer.Option("--probability", help="Write probabilities, 0 to 1.")] = False,
    threshold: Threshold = None,
    series: Series = None,
    tilt: TiltedGantry = "resample",
    device: Device = None,
    engine: Engine = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    max_ram: MaxRam = None,
    force: Force = False,
) -> None:
    """Segment a scan and write the mask, without measuring it.

    With weights trained on grey images the scan may be one or more PNG, JPG or TIFF images.

    \b
    Examples:
      tumorspread predict weights.safetensors ct.nii.gz -o mask.nii.gz
      tumorspread predict weights.safetensors ct.nii.gz -o probability.nii.gz --probability
    """
    import numpy as np

    from tumorspread.model.predict import Predictor
    from tumorspread.scan.nifti import write_nifti

    _check_target(out, force)
    predictor = Predictor(
        weights, device=device, engine=engine, precision=precision, threads=threads, max_ram_gib=max_ram
    )
    volume = predictor.read(scan, series=series, tilt=tilt)
    for remark in volume.remarks:
        say(f"note: {remark.text}")
    with progress_bar("segmenting") as progress:
        if probability:
            result = predictor.probability(volume, progress=progress)
        else:
            mask, _ = predictor.mask(volume, threshold=threshold, progress=progress)
            result = mask.with_voxels(mask.voxels.astype(np.uint8))
    write_nifti(result, out)
    say(f"wrote {out}")


def convert(
    scan: Annotated[Path, typer.Argument(help="DICOM series, NIfTI file, or PNG, JPG, TIFF slices.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Scan to write, .nii.gz.")],
    spacing: Annotated[str | None, typer.Option(help="Slices: voxel spacing in mm.", metavar="Z,Y,X")] = None,
    window: Annotated[str | None, typer.Option(help="Slices: HU of black and of white.", metavar="LOW,HIGH")] = None,
    series: Series = None,
    tilt: TiltedGantry = "resample",
    force: Force = False,
) -> None:
    """Read a scan of any kind and write it as NIfTI.

    Slices in grey carry neither millimetres nor HU, so both must be given for them.

    \b
    Examples:
      tumorspread convert dicom_folder/ -o ct.nii.gz
      tumorspread convert slices/ -o ct.nii.gz --spacing 2.5,0.8,0.8 --window -1000,400
    """
    from tumorspread.scan.nifti import write_nifti
    from tumorspread.scan.read import read

    _check_target(out, force)
    spacing_mm = parse_triple(spacing, "--spacing")
    window_hu = parse_pair(window, "--window")
    volume = read(scan, series=series, tilt=tilt, spacing_mm=spacing_mm, window_hu=window_hu)
    write_nifti(volume, out)
    for remark in volume.remarks:
        say(f"note: {remark.text}")
    say(f"wrote {out}: {volume.shape} voxels of {tuple(round(s, 4) for s in volume.spacing_mm)} mm (z, y, x)")


def _options(volume: Volume, dust: float, split: bool, radiomics: bool, lobes: Path | None) -> MeasureOptions:
    from tumorspread.measurement.measured import MeasureOptions
    from tumorspread.scan.read import read_labels

    return MeasureOptions(dust, split, radiomics, None if lobes is None else read_labels(lobes, volume))


def _dicom_writer(
    scan: Path, series: str | None, dicom: bool | None, rtstruct: bool, deidentifier: Deidentifier | None
) -> Callable[[Analysis, Path], object]:
    """What writes the results in DICOM, or nothing; asked before the work, since a scan may not allow for any."""
    from tumorspread.scan.read import scan_kind

    is_dicom = scan_kind(scan) == "dicom"
    if rtstruct and dicom is False:
        raise OutputError("--rtstruct asks for DICOM results and --no-dicom for none; leave one of them out")
    if (dicom or rtstruct) and not is_dicom:
        raise OutputError(f"{scan.name}: DICOM results need a scan in DICOM; leave out --dicom and --rtstruct")
    if not is_dicom or dicom is False:
        return lambda analysis, folder: None
    from tumorspread.report.dicom_results import write_dicom_results
    from tumorspread.scan.dicom_source import read_source

    read_source(scan, series=series)
    return lambda analysis, folder: write_dicom_results(
        analysis, scan, folder, series=series, rtstruct=rtstruct, deidentify=deidentifier and deidentifier.for_results
    )


def _check_target(out: Path, force: bool) -> None:
    """Refuse a file to write that is not NIfTI or would overwrite another."""
    if not out.name.endswith((".nii", ".nii.gz")):
        raise OutputError(f"{out}: expected a name that ends in .nii.gz")
    refuse_existing(out, force)
