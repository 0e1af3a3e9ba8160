"""Whether NiiVue, which draws the viewer's pictures, is in the package.

A wheel carries it. A folder of sources does not: it is fetched there once, by `make setup` or the script named here.
"""

from __future__ import annotations

from pathlib import Path

from tumorspread.errors import TumorspreadError

STATIC = Path(__file__).with_name("static")
SCRIPT = "niivue.js"


def check_present(static: Path = STATIC) -> None:
    """Refuse to serve a page that could draw nothing.

    Args:
        static: folder of the page.

    Raises:
        TumorspreadError: NiiVue is not there; the message names the command that fetches it.
    """
    if not (static / SCRIPT).is_file():
        raise TumorspreadError(
            "NiiVue, which draws the viewer's pictures, is not in this copy of tumorspread; fetch it once with "
            "`make setup`, or `python tools/fetch_niivue.py` in the folder of the sources"
        )
