"""Arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

ScanPath = Annotated[Path, typer.Argument(help="NIfTI file, or folder, zip or file of a DICOM CT series.")]
OutFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the results that are there.")]
Series = Annotated[
    str | None,
    typer.Option(help="DICOM: the SeriesInstanceUID, or a unique ending of it; see `series`.", metavar="UID"),
]
TiltedGantry = Annotated[
    Literal["resample", "refuse"],
    typer.Option("--tilt", help="DICOM: bring slices of a tilted gantry to an upright grid, or refuse them."),
]
Probability = Annotated[
    bool, typer.Option("--probability", help="Also write probability.nii.gz: percent, as the network sees it.")
]
WriteDicom = Annotated[
    bool | None,
    typer.Option("--dicom/--no-dicom", help="Also write seg.dcm and report-sr.dcm; by default for a scan in DICOM."),
]
Rtstruct = Annotated[bool, typer.Option("--rtstruct", help="With DICOM results: also the contours, rtstruct.dcm.")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--deidentify", help="Leave out of all results who the patient is, by this key of `deidentify`.", metavar="KEY"
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; by default CUDA where there is one.")]
Engine = Annotated[
    Literal["auto", "torch", "openvino"],
    typer.Option(help="What computes the network; by default OpenVINO on a CPU, torch on a GPU."),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "int8"],
    typer.Option(help="On a CPU; by default bf16 where it has that and OpenVINO. int8: see `quantise`."),
]
Threads = Annotated[int | None, typer.Option(help="CPU threads of the network; by default all cores.", min=1)]
MaxRam = Annotated[
    float | None,
    typer.Option(
        "--max-ram", help="Most memory to take, GiB; the network then looks at smaller pieces.", min=0.1, metavar="GIB"
    ),
]
Threshold = Annotated[
    float | None, typer.Option(help="Probability above which a voxel is tumour; by default the weights' own.")
]
OperatingPoint = Annotated[
    Literal["sensitive", "balanced", "specific"],
    typer.Option(help="How likely a lesion must be to count, with weights that were calibrated."),
]
Split = Annotated[bool, typer.Option("--split", help="Divide touching lesions at their necks.")]
Lobes = Annotated[
    Path | None,
    typer.Option(help="Lobe or lung mask, NIfTI: labels of TotalSegmentator or lungmask.", metavar="FILE"),
]
Radiomics = Annotated[
    bool,
    typer.Option(
        "--radiomics",
        help="Add IBSI first-order and shape features, and texture where pyradiomics is installed; also radiomics.csv.",
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        help="Mask to compare with in the report, NIfTI of 0 and 1, DICOM SEG or RTSTRUCT on the scan.", metavar="MASK"
    ),
]
Pdf = Annotated[bool, typer.Option("--pdf", help="Also write report.pdf; needs the extra `pdf` of the package.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print findings.json instead of the table.")]
Fold = Annotated[int, typer.Option(help="Which split of splits.json, from 0.", min=0)]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change one setting, such as --set run.epochs=20. May be repeated.",
        metavar="NAME=VALUE",
    ),
]
RecipeName = Annotated[
    str | None, typer.Option(help="A TOML file, or a recipe of the package: 2d, 3d, lung, demo, msd-patches.")
]
HeaderFile = Annotated[
    Path | None, typer.Option(help="File with a header line, such as `Authorization: Bearer TOKEN`.", metavar="FILE")
]
HeaderEnv = Annotated[
    str | None, typer.Option(help="Name of an environment variable that holds such a line.", metavar="NAME")
]
Authority = Annotated[
    Path | None, typer.Option("--ca", help="PEM file of the authority of the server's certificate.", metavar="FILE")
]
