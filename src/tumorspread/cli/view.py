"""The verb that shows results in a browser.

Everything heavy is imported inside the verb, so that `--help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tumorspread.cli.terminal import say
from tumorspread.errors import ReadError


def view(
    results: Annotated[
        list[Path],
        typer.Argument(help="Result folders of `analyse` or `measure`, folders of such, or a scan to analyse first."),
    ],
    scan: Annotated[
        Path | None, typer.Option(help="Where the scan lies now, for one result folder.", metavar="PATH")
    ] = None,
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.", min=0, max=65535)] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address and open nothing.")] = False,
) -> None:
    """Look at results and correct them, in a browser on this machine.

    Listens on 127.0.0.1 alone. Corrections are kept in `edits` in the result folder; the first result stays as it is.

    \b
    Examples:
      tumorspread view result
      tumorspread view may august
      tumorspread view cohort --port 8080 --no-browser
    """
    import webbrowser

    from tumorspread.viewer.serve import serve
    from tumorspread.viewer.shelf import Shelf, find_results

    def started(address: str) -> None:
        say(f"open {address}")
        say("Ctrl-C stops")
        if not no_browser:
            webbrowser.open(address)

    shelf = Shelf()
    try:
        for path in results:
            found = find_results(path.resolve()) if path.is_dir() else []
            if not found:
                raise ReadError(f"{path}: no result folder of `analyse` or `measure`, and none in it")
            for folder in found:
                shelf.add(folder, scan)
        serve(shelf, port, started)
    finally:
        shelf.close()
    say("stopped")
