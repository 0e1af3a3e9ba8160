"""Keeps pydicom's words to itself: its warnings and log lines quote the values that they find fault with."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_is_quiet: ContextVar[bool] = ContextVar("_is_quiet", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    """A block in which pydicom warns and logs nothing; other threads' log lines go on as they were."""
    token = _is_quiet.set(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _is_quiet.reset(token)


@contextmanager
def quiet_to_the_end() -> Iterator[None]:
    """Like `quiet`, save that a file that ends too early is a UserWarning raised."""
    with quiet():
        warnings.filterwarnings("error", message=".*end of file", category=UserWarning)
        yield


logging.getLogger("pydicom").addFilter(lambda record: not _is_quiet.get())
