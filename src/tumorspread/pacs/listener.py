"""The listener: receiving, analysing and sending side by side, each at its own pace."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tumorspread.errors import NetworkError
from tumorspread.pacs.child import Analyse
from tumorspread.pacs.commitment import Commitment
from tumorspread.pacs.peer import Peer, Sender
from tumorspread.pacs.queue import Queue, Rules
from tumorspread.pacs.receiver import Access, Receiver
from tumorspread.pacs.tls import TlsFiles, client_context, server_context
from tumorspread.pacs.worker import Waits, Worker

logger = logging.getLogger(__name__)

# How often the ends of associations and quiet series are looked for, seconds.
TICK_S = 0.1
# How long a thread may take to notice that it is to stop, seconds; what it does is safe to be cut off.
STOP_S = 1.5


@dataclass(frozen=True)
class Seat:
    """Our place in the network.

    Attributes:
        access: our title and address, and who may call.
        peer: where the results go.
        folder: of the queue.
        rules: when a series is complete, and how much is taken.
        waits: between tries.
        tls: None speaks without TLS, both ways.
        keep_s: seconds that the slices of a finished series stay.
        retry_failed: whether to try failed series again at the start.
    """

    access: Access
    peer: Peer
    folder: Path
    rules: Rules = field(default_factory=Rules)
    waits: Waits = field(default_factory=Waits)
    tls: TlsFiles | None = None
    keep_s: float = 7 * 86400.0
    retry_failed: bool = False


def listen(seat: Seat, analyse: Analyse, stop: threading.Event, *, started: Callable[[], None] = lambda: None) -> None:
    """Receive, analyse and send until told to stop; goes on where the last run of this folder ended.

    Args:
        seat: our place in the network.
        analyse: see `Worker`.
        stop: to be set from a signal's handler or another thread.
        started: called when callers are answered.

    Raises:
        NetworkError: the address or the certificates cannot be used.
        OutputError: the folder cannot be used, or another listener works in it.
        ReadError: the record of a series is damaged.
    """
    tls_in, tls_out = (None, None) if seat.tls is None else (server_context(seat.tls), client_context(seat.tls))
    queue = Queue(seat.folder, seat.rules)
    sender = Sender(seat.access.aet, seat.peer, tls_out)
    receiver = Receiver(queue, Commitment(queue, sender, stop))
    worker = Worker(queue, analyse, sender, seat.waits)
    threads = [
        threading.Thread(target=worker.run, args=(work, stop), name=work.__name__, daemon=True)
        for work in (worker.analyse_next, worker.send_next)
    ]
    try:
        if seat.retry_failed:
            queue.retry_failed()
        receiver.start(seat.access, tls_in)
        for thread in threads:
            thread.start()
        started()
        _watch(queue, receiver, threads, seat.keep_s, stop)
    finally:
        stop.set()
        sender.stop()
        receiver.stop()
        for thread in threads:
            if thread.is_alive():
                thread.join(STOP_S / len(threads))
        queue.close()


def _watch(
    queue: Queue, receiver: Receiver, threads: list[threading.Thread], keep_s: float, stop: threading.Event
) -> None:
    while not stop.wait(TICK_S):
        dead = [thread.name for thread in threads if not thread.is_alive()]
        # Asked in this order: told to stop, they may end between the wait above and the look at them.
        if dead and not stop.is_set():
            raise NetworkError(f"the listener lost its thread {dead[0]} to a fault; start it again, nothing is lost")
        try:
            receiver.end_associations()
            queue.settle()
            queue.clean(keep_s)
        except OSError as error:
            logger.warning("cannot write %s: %s", queue.folder, error.strerror or error)
            stop.wait(1.0)
