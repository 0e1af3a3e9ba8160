"""`tumorspread data ...`: fetch, check, split, convert, make and look at training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tumorspread.cli.terminal import parse_pair, parse_triple, print_table, progress_bar, say
from tumorspread.errors import DatasetError, OutputError

HELP = """Training data: fetch, check, split, convert, make, look at.

\b
A data set is a folder in the layout of the Medical Segmentation Decathlon:
  DIR/dataset.json
  DIR/imagesTr/NAME.nii.gz      scans
  DIR/labelsTr/NAME.nii.gz      masks, 0 and 1
  DIR/ignoreTr/NAME.nii.gz      1 where nobody knows whether there is tumour; optional
  DIR/splits.json               made by `data split`
"""

app = typer.Typer(help=HELP, rich_markup_mode=None, no_args_is_help=True)

DataFolder = Annotated[Path, typer.Argument(help="Data set in MSD layout.")]
NewFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder to make.")]


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Which data set: msd-lung, or sample, one real patient.")],
    out: NewFolder,
    case: Annotated[list[str] | None, typer.Option(help="Only this case; may be repeated.")] = None,
    source: Annotated[str | None, typer.Option("--from", help="Address of the tar, or a local tar or folder.")] = None,
    md5: Annotated[str | None, typer.Option(help="Of the tar named by --from, to be checked.")] = None,
) -> None:
    """Fetch a public data set; a broken download goes on where it stopped.

    Single cases are read out of the archive on the server, without the other gigabytes.

    \b
    Examples:
      tumorspread data fetch msd-lung -o data
      tumorspread data fetch msd-lung -o data --case lung_001 --case lung_003
      tumorspread data fetch msd-lung -o data --from /mnt/Task06_Lung.tar
      tumorspread data fetch sample -o sample
      tumorspread data fetch sample -o another --case pat_1
    """
    from tumorspread.data.msd import fetch_msd_lung
    from tumorspread.data.sample import PATIENTS, fetch_sample

    if name == "sample":
        if len(case or ()) > 1 or md5:
            raise DatasetError("the sample is one patient; leave out --md5, and name one --case or none")
        fetch_sample(out, patient=case[0] if case else PATIENTS[0], wheel=None if source is None else Path(source))
        say(f"wrote {out}: CC BY-NC 3.0, not for commercial use; see LICENCE.txt there")
        return
    if name != "msd-lung":
        raise DatasetError(f"data set {name!r} is not known; expected msd-lung or sample")
    with progress_bar("fetching") as progress:
        folder = fetch_msd_lung(out, cases=case or (), source=source, md5=md5, progress=progress)
    say(f"wrote {folder}")


@app.command()
def check(folder: DataFolder) -> None:
    """Read every file of a data set and print a table of all that is wrong.

    Exit 1 where there is a fault; notes alone are no fault.

    \b
    Example:
      tumorspread data check Task06_Lung
    """
    from tumorspread.data.cases import find_cases
    from tumorspread.data.check import check_dataset

    with progress_bar("checking") as progress:
        found = check_dataset(folder, progress)
    if found:
        print_table(("level", "case", "code", "what"), [(f.level, f.case or "-", f.code, f.text) for f in found])
    faults = sum(f.level == "fault" for f in found)
    if faults:
        raise DatasetError(f"{folder}: {faults} faults, see the table")
    say(f"{folder}: {len(find_cases(folder))} cases, no faults")


@app.command()
def split(
    folder: DataFolder,
    folds: Annotated[bool, typer.Option("--folds", help="The five folds that nnU-Net makes.")] = False,
    fractions: Annotated[
        str | None,
        typer.Option(help="Shares of patients; by default 0.7,0.15,0.15.", metavar="TRAIN,VAL,TEST"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.", min=0)] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the split that is there.")] = False,
) -> None:
    """Draw train, validation and test cases by patient, and write splits.json.

    \b
    Examples:
      tumorspread data split Task06_Lung
      tumorspread data split Task06_Lung --folds
    """
    from tumorspread.data.cases import find_cases
    from tumorspread.data.splits import DEFAULT_FRACTIONS, split_folds, split_holdout, write_splits

    target = folder / "splits.json"
    cases = find_cases(folder)
    if target.exists() and not force:
        raise OutputError(f"{target} is there already; replace it with --force")
    if folds:
        splits = split_folds(cases)
        write_splits(target, splits, kind="folds", seed=0)
    else:
        shares = parse_triple(fractions, "--fractions") or DEFAULT_FRACTIONS
        splits = split_holdout(cases, fractions=shares, seed=seed)
        write_splits(target, splits, kind="holdout", seed=seed)
    rows = [(str(i), str(len(s.train)), str(len(s.val)), str(len(s.test))) for i, s in enumerate(splits)]
    print_table(("fold", "train", "val", "test"), rows)
    say(f"wrote {target}")


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(help="Folder of patients' DICOM, of PNG image/mask pairs, or of HDF5 patches.")
    ],
    out: NewFolder,
    roi: Annotated[
        list[str] | None,
        typer.Option(
            help="DICOM: names of ROIs or segments that are tumour, * for any text; may be repeated. By default names "
            "such as GTV-1, tumour, nodule, lesion.",
            metavar="PATTERN",
        ),
    ] = None,
    spacing: Annotated[str | None, typer.Option(help="PNG: spacing in mm.", metavar="Z,Y,X")] = None,
    window: Annotated[
        str | None,
        typer.Option(help="PNG: HU of black and of white; without, grey levels.", metavar="LOW,HIGH"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Draw the validation patients; without, the last ones.")] = None,
) -> None:
    """Bring other data into the layout: DICOM CT with SEG or RTSTRUCT, PNG image/mask pairs, HDF5 patches of MSD.

    Of DICOM, a folder for each patient as archives give them: each CT series with a tumour drawn on it becomes a case.
    A table, and taken.csv, say what was taken and why the rest was not. Pairs are images/NAME.png with masks/NAME.png,
    or NAME.png with NAME_mask.png; patients.csv (image, patient) keeps pictures of one patient together. HDF5 patches
    keep their published division, written to splits.json.

    \b
    Examples:
      tumorspread data convert NSCLC-Radiomics/ -o dataset --roi "GTV-1"
      tumorspread data convert LIDC-IDRI/ -o dataset
      tumorspread data convert pictures/ -o dataset
      tumorspread data convert msd_patches/ -o patches
    """
    from tumorspread.data.convert import convert as run
    from tumorspread.data.dicom_cases import read_taken

    spacing_mm = parse_triple(spacing, "--spacing")
    window_hu = parse_pair(window, "--window")
    with progress_bar("converting") as progress:
        folder = run(
            source,
            out,
            spacing_mm=spacing_mm,
            window_hu=window_hu,
            seed=seed,
            regions=roi or (),
            progress=progress,
        )
    if rows := read_taken(folder):
        header = ("patient", "file or CT series", "case", "regions", "mL", "remark")
        cells = [
            (r.patient, r.object or r.series, r.case or "-", r.regions or "-", r.volume_ml or "-", r.remark)
            for r in rows
        ]
        print_table(header, cells)
    say(f"wrote {folder}")


@app.command()
def phantoms(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    count: Annotated[int, typer.Option(help="Number of scans.", min=1)] = 16,
    seed: Annotated[int, typer.Option(help="Of the first; the next ones count on.", min=0)] = 0,
) -> None:
    """Make synthetic chest CTs with tumours of known volume and diameter.

    \b
    Example:
      tumorspread data phantoms phantoms --count 16
    """
    from tumorspread.data.phantom_set import write_phantoms

    with progress_bar("drawing") as progress:
        write_phantoms(out, count, seed=seed, progress=progress)
    say(f"wrote {out}")


@app.command()
def implant(
    data: Annotated[Path, typer.Argument(help="Folder that the paths in the list of hosts are relative to.")],
    out: NewFolder,
    hosts: Annotated[str, typer.Option(help="List of hosts: a TOML file, or `shipped`.")] = "shipped",
    shapes: Annotated[Path | None, typer.Option(help="Folder of real outlines; without, shapes by formula.")] = None,
    count: Annotated[int, typer.Option(help="Number of scans.", min=2)] = 200,
    leave_out: Annotated[list[str] | None, typer.Option(help="A patient not to use; may be repeated.")] = None,
    many: Annotated[
        float, typer.Option(help="Share of the scans with 12 to 40 small tumours, as metastases.", min=0, max=1)
    ] = 0.0,
    raised: Annotated[
        float, typer.Option(help="Share of the scans with half of the diaphragm raised.", min=0, max=1)
    ] = 0.0,
    cropped: Annotated[
        float, typer.Option(help="Share of the scans that show a part of the chest alone.", min=0, max=1)
    ] = 0.0,
    deformed: Annotated[
        float, typer.Option(help="Share of the scans with the chest stretched and bent.", min=0, max=1)
    ] = 0.0,
    ignore_airless: Annotated[
        bool,
        typer.Option("--ignore-airless", help="Learn nothing from collapsed or hazy lung and fluid that are put in."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the set.", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
) -> None:
    """Put synthetic tumours into real chest CT: training cases with an exact outline, and their splits.json.

    Each case is a host as another scanner might have taken it, with 2 to 10 tumours of 3 to 120 mm and much that only
    looks like one. Started again, it goes on where it stopped.

    \b
    Examples:
      tumorspread data implant data/ -o implants --shapes data/lesion_masks --count 300 --many 0.3 --raised 0.3
      tumorspread data implant my_scans/ -o implants --hosts hosts.toml --leave-out patient_7
    """
    from tumorspread.data.hosts import find_list, read_hosts
    from tumorspread.data.implant_set import ImplantSetConfig, write_implants

    used = read_hosts(find_list(hosts), leave_out=tuple(leave_out or ()))
    config = ImplantSetConfig(
        used,
        data,
        shapes,
        seed,
        many_p=many,
        raised_p=raised,
        cropped_p=cropped,
        deformed_p=deformed,
        airless_ignored=ignore_airless,
    )
    with progress_bar("implanting") as progress:
        write_implants(out, count, config, workers=workers, progress=progress)
    say(f"wrote {out}")


@app.command()
def preview(
    folder: DataFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write, .png.")] = Path("patches.png"),
    recipe: Annotated[str | None, typer.Option(help="A TOML file, or a recipe of the package.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change one setting.", metavar="NAME=VALUE")
    ] = None,
    count: Annotated[int, typer.Option(help="Number of patches.", min=1, max=24)] = 12,
) -> None:
    """Draw the first patches of a training, augmented as it would see them.

    \b
    Example:
      tumorspread data preview phantoms --recipe demo -o patches.png
    """
    from tumorspread.model.recipe import Recipe
    from tumorspread.model.training_data import sample_patches
    from tumorspread.report.folder import write_picture
    from tumorspread.report.sheets import patches_figure

    images, masks = sample_patches(folder, Recipe.read(recipe, changes or ()), count)
    write_picture(patches_figure(images, masks, captions=[f"patch {i}" for i in range(count)]), out)
    say(f"wrote {out}")
