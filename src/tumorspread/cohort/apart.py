"""Work beside the workers in a process of its own, whose libraries and memory end with it: the client stays small."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from tumorspread.errors import OutputError

T = TypeVar("T")


def run_apart(function: Callable[..., T], what: str, *arguments: Any) -> T:
    """The answer of a function of a module.

    Args:
        function: sent there by its name.
        what: it does, for people.
        arguments: of the function.

    Raises:
        OutputError: that process was ended. What the function raises is raised here too.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as one:
        try:
            return one.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise OutputError(
                f"the process that {what} was ended (out of memory?); the rows are kept: start this command again"
            ) from error
