"""OpenVINO and NNCF, imported so that they report nothing: both tell their makers when they are used, unasked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from tumorspread.errors import TumorspreadError

REPORTER = "openvino_telemetry"


def import_openvino() -> Any:
    """The module `openvino`; it takes a third of a second."""
    with _without_reporter():
        import openvino
    return openvino


@cache
def openvino_core() -> Any:
    """The one `Core` of this process.

    With its first model each core gives the calling thread a stack for signals, and unmaps it when the core goes. When
    two go in the order they came, the thread keeps a stack that is no longer there, and the next signal that Python
    handles (Ctrl-C, the end of a loader's process) kills the program.
    """
    return import_openvino().Core()


def import_nncf() -> Any:
    """The module `nncf`.

    Raises:
        TumorspreadError: it is not installed.
    """
    with _without_reporter():
        try:
            import nncf
        except ImportError as error:
            raise TumorspreadError("int8 needs NNCF; install it with `pip install tumorspread[int8]`") from error
    return nncf


@contextmanager
def _without_reporter() -> Iterator[None]:
    """Both do without the package that reports where it cannot be imported."""
    before = {name: sys.modules[name] for name in (REPORTER,) if name in sys.modules}
    sys.modules[REPORTER] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[REPORTER]
        sys.modules.update(before)
