"""The same page as PDF, by WeasyPrint."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import ImageFile

from tumorspread.errors import OutputError


def check_pdf() -> None:
    """Ask whether a PDF can be written, before the work that it is to show.

    Raises:
        OutputError: WeasyPrint is not installed, or the libraries of Pango that it draws text with are not.
    """
    # WeasyPrint sets this for the whole process, and damaged slices would be read as whole ones.
    may_be_truncated = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        import weasyprint  # noqa: F401
    except ImportError as error:
        raise OutputError("--pdf needs WeasyPrint: pip install 'tumorspread[pdf]', or leave --pdf out") from error
    except OSError as error:
        raise OutputError(
            "--pdf needs the libraries of Pango, which WeasyPrint did not find: install libpango-1.0-0 and "
            "libpangoft2-1.0-0 (on Debian), or leave --pdf out"
        ) from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = may_be_truncated


def write_pdf(html: str, path: Path) -> None:
    """Write a page as A4 PDF; the file appears whole or not at all.

    Args:
        html: complete in itself; nothing is fetched, neither from the network nor from this machine.
        path: of the PDF.

    Raises:
        OutputError: see `check_pdf`; or the page asks for something else than it holds.
    """
    check_pdf()
    import weasyprint
    from weasyprint.urls import FatalURLFetchingError, URLFetcher

    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    fetcher = URLFetcher(allowed_protocols=["data"], fail_on_errors=True)
    document = weasyprint.HTML(string=html, url_fetcher=fetcher)
    try:
        document.write_pdf(unfinished)
        os.replace(unfinished, path)
    except FatalURLFetchingError as error:
        raise OutputError(f"the page is not complete in itself: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
