"""Keeps pydicom's words to itself: its warnings and log lines quote the values that they find fault with."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_is_quiet: ContextVar[bool] = ContextVar("_is_quiet", default=False)


@contextmanager
def without_quotes() -> Iterator[None]:
    """A block in which pydicom warns and logs nothing, save that the end of a file is a UserWarning raised.

    Other threads' log lines go on as they were.
    """
    token = _is_quiet.set(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message=".*end of file", category=UserWarning)
            yield
    finally:
        _is_quiet.reset(token)


logging.getLogger("pydicom").addFilter(lambda record: not _is_quiet.get())
