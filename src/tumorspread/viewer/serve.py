"""The server itself: on this machine alone, until it is stopped."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from tumorspread.errors import NetworkError
from tumorspread.viewer.app import make_app
from tumorspread.viewer.guard import Access
from tumorspread.viewer.jobs import Jobs
from tumorspread.viewer.shelf import Shelf

ADDRESS = "127.0.0.1"


def serve(shelf: Shelf, uploads: Path, port: int, started: Callable[[str], None]) -> None:
    """Serve the cases of a shelf until Ctrl-C or SIGTERM.

    Args:
        shelf: the cases.
        uploads: folder in which the results of scans appear that are sent.
        port: to listen at; 0 takes one that is free.
        started: called with the address to open, token included, once requests are taken.

    Raises:
        NetworkError: the port cannot be listened at.
    """
    import uvicorn

    with listen(port) as listener, closing(Jobs(uploads, lambda folder: shelf.add(folder).id)) as jobs:
        access = Access(listener.getsockname()[1], secrets.token_urlsafe(32))
        config = uvicorn.Config(
            make_app(shelf, jobs, access),
            log_level="error",
            # It would hold the token.
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=2,
        )
        started(f"http://{ADDRESS}:{access.port}/?token={access.token}")
        # uvicorn raises the signal that ended it once more.
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def listen(port: int) -> socket.socket:
    """A socket that takes connections of this machine.

    Raises:
        NetworkError: the port is taken or not allowed.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ADDRESS, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise NetworkError(f"cannot listen at {ADDRESS}:{port} ({reason}); --port 0 takes a free one") from error
    return listener
