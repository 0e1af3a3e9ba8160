"""Loaded by each worker process on this machine: Ctrl-C reaches the whole terminal, and is the client's to judge."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Ignore SIGINT; the client ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
