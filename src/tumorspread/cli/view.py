"""The verb that shows results in a browser.

Everything heavy is imported inside the verb, so that `--help` answers at once.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorspread.cli.options import Series, TiltedGantry
from tumorspread.cli.terminal import progress_bar, say
from tumorspread.errors import OutputError, ReadError, TumorspreadError

if TYPE_CHECKING:
    from tumorspread.viewer.shelf import Shelf


def view(
    results: Annotated[
        list[Path],
        typer.Argument(help="Result folders of `analyse` or `measure`, a folder of such, or a scan to analyse first."),
    ],
    scan: Annotated[
        Path | None, typer.Option(help="Where the scan of the one result lies now.", metavar="PATH")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Of a scan: folder for its results; by default NAME-result here.")
    ] = None,
    uploads: Annotated[
        Path | None,
        typer.Option(help="Folder for results of scans dropped onto the page; by default here, or the one viewed."),
    ] = None,
    series: Series = None,
    tilt: TiltedGantry = "resample",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.", min=0, max=65535)] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address and open nothing.")] = False,
) -> None:
    """Look at results and correct them, in a browser on this machine.

    Listens on 127.0.0.1 alone, with a secret in the address. Corrections are kept in `edits` in the result folder; the
    first result stays as it is.

    \b
    Examples:
      tumorspread view result
      tumorspread view may august
      tumorspread view cohort --port 8080 --no-browser
      tumorspread view ct.nii.gz -o result
    """
    import webbrowser

    from tumorspread.viewer.niivue import check_present
    from tumorspread.viewer.serve import serve
    from tumorspread.viewer.shelf import Shelf

    def started(address: str) -> None:
        say(f"open {address}")
        say("Ctrl-C stops")
        if not no_browser:
            webbrowser.open(address)

    try:
        check_present()
    except TumorspreadError as error:
        # The API alone needs no pictures.
        if not no_browser:
            raise
        say(str(error))
    # As Ctrl-C, so that whoever stops it in either way finds nothing left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shelf = Shelf()
    try:
        roots = [_put(shelf, path, scan, out, series, tilt) for path in results]
        if scan is not None and len(shelf.ids()) != 1:
            raise ReadError(f"--scan names the scan of one result; here are {len(shelf.ids())}")
        serve(shelf, uploads or roots[0] or Path.cwd(), port, started)
    finally:
        shelf.close()
    say("stopped")


def _put(
    shelf: Shelf, path: Path, scan: Path | None, out: Path | None, series: str | None, tilt: TiltedGantry
) -> Path | None:
    """Put what lies at a path on the shelf; gives the folder of result folders, where it is one."""
    from tumorspread.viewer.shelf import find_results

    if not path.exists():
        raise ReadError(f"{path}: no such file or folder")
    found = find_results(path.resolve()) if path.is_dir() else []
    for folder in found:
        shelf.add(folder, scan)
    if found:
        return None if found == [path.resolve()] else path.resolve()
    shelf.add(_analysed(path, out, series, tilt))
    return None


def _analysed(scan: Path, out: Path | None, series: str | None, tilt: TiltedGantry) -> Path:
    """The result folder of a scan that is analysed now."""
    from tumorspread import pipeline
    from tumorspread.measurement.measured import MeasureOptions
    from tumorspread.measurement.pieces import DUST_MM3
    from tumorspread.report.folder import check_free, open_folder, write_analysis
    from tumorspread.report.scan_note import note_scan
    from tumorspread.scan.read import read

    stem = scan.resolve().name.removesuffix(".gz").removesuffix(".nii").removesuffix(".zip")
    target = out or Path(f"{stem}-result")
    try:
        check_free(target)
    except OutputError as error:
        raise OutputError(f"{error}; or look at what it holds: tumorspread view {target}") from error
    with open_folder(target) as folder:
        volume = read(scan, series=series, tilt=tilt)
        with progress_bar("segmenting") as progress:
            analysis = pipeline.analyse(
                volume, source=scan.name, options=MeasureOptions(DUST_MM3, percent=True), progress=progress
            )
        write_analysis(analysis, folder)
        note_scan(folder, scan, series=series, tilt=tilt)
    say(f"wrote {target}")
    return target
