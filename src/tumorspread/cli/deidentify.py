"""The verb that takes the patient out of DICOM files: `deidentify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tumorspread.cli.terminal import print_table, progress_bar, say

if TYPE_CHECKING:
    from tumorspread.scan.deidentified_folder import Tally
    from tumorspread.scan.deidentify import Deidentifier
    from tumorspread.scan.volume import Volume


def deidentify(
    source: Annotated[Path, typer.Argument(help="Folder or zip of DICOM files, or one file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make; outside of the source.")],
    key: Annotated[
        Path,
        typer.Option(help="File with the key; a new one is made where there is none. Keep it secret, out of -o."),
    ],
    on_risk: Annotated[
        Literal["warn", "skip", "refuse"],
        typer.Option(
            help="Files whose pixels may show a name or a face: write and list them, leave them out, or write nothing."
        ),
    ] = "warn",
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave out files that cannot be read, rather than refuse.")
    ] = False,
) -> None:
    """Write copies of DICOM files without who the patient is (DICOM PS3.15, Basic Profile).

    The same key gives the same pseudonyms, UIDs and shifted dates on every run: studies that come later fit those
    that were there. Pixels are not altered: files that may show a name in the picture are named in look-at.csv.

    \b
    Examples:
      tumorspread deidentify study/ -o shared --key ~/study.key
      tumorspread deidentify study.zip -o shared --key ~/study.key --on-risk skip --skip-damaged
    """
    from tumorspread.report.folder import open_folder
    from tumorspread.scan.deidentified_folder import check_places, deidentify_folder, write_check_list
    from tumorspread.scan.deidentify import Deidentifier, read_key
    from tumorspread.scan.pseudonyms import new_key, write_key

    check_places(source, out, key)
    is_new = not key.exists()
    secret = new_key() if is_new else read_key(key)
    with open_folder(out) as folder:
        with progress_bar("de-identifying") as progress:
            tally = deidentify_folder(
                source, folder, Deidentifier(secret), on_risk=on_risk, skip_damaged=skip_damaged, progress=progress
            )
        write_check_list(tally, folder)
        if is_new:
            # Last, so that a refusal leaves no key of nothing; before the files, which are lost without it.
            write_key(key, secret)
    _print_tally(tally)
    if is_new:
        say(f"wrote the new key {key}: keep it to add to this data later; who has it can recognise patients")
    say(f"wrote {out}")


def open_deidentifier(key: Path) -> Deidentifier:
    """What takes the patient out of the results of other verbs.

    Raises:
        ReadError: no key there, or what is there is none.
    """
    from tumorspread.scan.deidentify import Deidentifier, read_key

    return Deidentifier(read_key(key))


def warn_of_pixels(scan: Path, series: str | None) -> None:
    """Say where pictures of a scan may show the patient whatever is done to the names."""
    from tumorspread.scan.burned_in import find_series_risks
    from tumorspread.scan.read import scan_kind

    if scan_kind(scan) == "dicom":
        for risk in find_series_risks(scan, series=series):
            say(f"warning: look at the report's pictures before you share them: {risk.text}")


def without_names(volume: Volume) -> Volume:
    """The scan with remarks that name no files: what they list after a colon goes, since a name may be a patient's."""
    from dataclasses import replace

    remarks = tuple(replace(remark, text=remark.text.partition(":")[0]) for remark in volume.remarks)
    return replace(volume, remarks=remarks)


def _print_tally(tally: Tally) -> None:
    from tumorspread.scan.bundle import plain_list

    rows = (
        ("written", tally.written),
        ("patients in them", tally.patients),
        ("left out, not DICOM", tally.not_dicom),
        ("left out, DICOMDIR", tally.directories),
        ("left out, damaged", len(tally.damaged)),
        *((f"left out, {risk.remark.code}", len(risk.files)) for risk in tally.risks_left_out),
        *((f"to look at, {risk.remark.code}", len(risk.files)) for risk in tally.risks),
    )
    print_table(("files", "count"), [(what, str(count)) for what, count in rows])
    if tally.damaged:
        say(f"warning: damaged and left out: {plain_list(tally.damaged)}")
    for risk in tally.risks:
        say(f"warning: {len(risk.files)} of {tally.written} files: {risk.remark.text}: {plain_list(risk.files)}")
