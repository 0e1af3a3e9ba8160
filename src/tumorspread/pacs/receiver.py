"""The listening side: C-ECHO, C-STORE and requests for storage commitment, each answered when it is true.

All storage classes are taken, not CT alone: a PACS sends a study as a whole, and gives up where its dose report is
turned away. What is no CT is kept and committed to like the rest, but not analysed.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)  # fmt: skip
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from tumorspread.errors import NetworkError, OutputError, ReadError
from tumorspread.pacs.commitment import Commitment
from tumorspread.pacs.queue import Queue
from tumorspread.pacs.tls import SILENCE_S
from tumorspread.scan.bundle import Bundle, plain
from tumorspread.scan.dicom_frames import read_dataset
from tumorspread.scan.dicom_values import is_uid
from tumorspread.scan.quiet import quiet

logger = logging.getLogger(__name__)

PLAIN = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian,
)  # fmt: skip
PACKED = (
    RLELossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless, JPEG2000Lossless, JPEG2000,
    HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K, JPEGBaseline8Bit, JPEGExtended12Bit,
)  # fmt: skip
# What we ask others to send at once; five times fewer pieces than pynetdicom's own 16 KiB.
PDU_BYTES = 2**17
# What anybody may send at once before we know who it is: a proposal of all storage classes has 0.1 MiB.
MAX_PDU_BYTES = 2**22
# An enhanced CT of 2000 slices of 512x512 has 1 GiB; it is held in memory until it is whole.
MAX_INSTANCE_BYTES = 2**31

# PS3.7 annex C, PS3.4 annex B.2.3.
SUCCESS, OUT_OF_RESOURCES, MISMATCH, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000


@dataclass(eq=False)
class _Caller:
    """An open association: its number in the queue, and the bytes since its last instance."""

    association: Any
    number: int
    size: int = 0
    refused: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Access:
    """Who may call, and where.

    Attributes:
        aet: our own title; a call for another is rejected.
        bind: address to listen at.
        port: port to listen at.
        allow: titles that may call.
    """

    aet: str
    bind: str
    port: int
    allow: tuple[str, ...]


class Receiver:
    """Listens, and puts what comes into the queue.

    Args:
        queue: where to.
        commitment: answers requests for storage commitment.
    """

    def __init__(self, queue: Queue, commitment: Commitment) -> None:
        self._queue = queue
        self._commitment = commitment
        self._callers: dict[Any, _Caller] = {}
        self._count = 0
        self._lock = threading.Lock()
        self._ae: AE | None = None

    def start(self, access: Access, tls: Any = None) -> None:
        """Listen, in threads of its own.

        Raises:
            NetworkError: the address cannot be had.
        """
        ae = AE(ae_title=access.aet)
        ae.require_called_aet = True
        ae.require_calling_aet = list(access.allow)
        ae.maximum_pdu_size = PDU_BYTES
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(str(context.abstract_syntax), readable_syntaxes())
        ae.add_supported_context(Verification)
        ae.add_supported_context(StorageCommitmentPushModel)
        handlers: list[tuple[Any, Callable[[Event], Any]]] = [
            (evt.EVT_CONN_OPEN, self._open),
            (evt.EVT_DATA_RECV, self._count_bytes),
            (evt.EVT_REJECTED, self._note_rejected),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._commitment.answer),
        ]
        try:
            ae.start_server((access.bind, access.port), block=False, ssl_context=tls, evt_handlers=handlers)
        except OSError as error:
            raise NetworkError(
                f"cannot listen at {access.bind}:{access.port} ({error.strerror or error}); "
                "is another program there, or the address not this machine's?"
            ) from error
        self._ae = ae

    def end_associations(self) -> None:
        """Tell the queue which associations are over, and how they ended.

        Raises:
            OSError: the queue cannot put it down; to be called again.
        """
        # Asked for, not told: of a peer that vanished there is no event.
        with self._lock:
            ended = [caller for caller in self._callers.values() if not caller.association.is_alive()]
        for caller in ended:
            self._queue.end(caller.number, whole=bool(caller.association.is_released))
            with self._lock:
                del self._callers[caller.association]

    def stop(self) -> None:
        """Abort the associations and listen no more."""
        if self._ae is not None:
            self._ae.shutdown()

    def _open(self, event: Event) -> None:
        connection = event.assoc.dul.socket
        connection.socket.settimeout(SILENCE_S)
        receive = connection.recv

        def receive_some(size: int) -> bytearray:
            if size > MAX_PDU_BYTES:
                # pynetdicom would gather up to the 4 GiB that a stranger names.
                raise OSError(f"a message of {size} bytes")
            return bytearray(receive(size))

        connection.recv = receive_some

    def _count_bytes(self, event: Event) -> None:
        caller = self._caller(event.assoc)
        caller.size += len(event.data)
        if caller.size > MAX_INSTANCE_BYTES:
            self._refuse(caller, "an instance of more than 2 GiB")
            event.assoc.dul.socket.close()

    def _note_rejected(self, event: Event) -> None:
        requestor = event.assoc.requestor
        called = event.assoc.requestor.primitive.called_ae_title
        reason = f"rejected: calls {plain(str(called))} from {plain(str(requestor.address))}, or calls are too many"
        self._queue.audit.write("refused", caller=str(requestor.ae_title), reason=reason)

    def _store(self, event: Event) -> int:
        caller = self._caller(event.assoc)
        caller.size = 0
        aet = str(event.assoc.requestor.ae_title)
        try:
            content = event.encoded_dataset()
            series, instance = _identity(content)
            if instance != str(event.request.AffectedSOPInstanceUID):
                self._refuse(caller, "an instance whose UID is not the one announced")
                return MISMATCH
            self._queue.store(content, series=series, instance=instance, caller=aet, association=caller.number)
        except ReadError as error:
            self._refuse(caller, str(error))
            return NOT_UNDERSTOOD
        except OutputError as error:
            self._refuse(caller, str(error))
            return OUT_OF_RESOURCES
        except OSError as error:
            self._refuse(caller, f"cannot write: {error.strerror}")
            return OUT_OF_RESOURCES
        return SUCCESS

    def _caller(self, association: Any) -> _Caller:
        with self._lock:
            if association not in self._callers:
                self._count += 1
                self._callers[association] = _Caller(association, self._count)
            return self._callers[association]

    def _refuse(self, caller: _Caller, reason: str) -> None:
        """A row for each reason once an association, not for each of a thousand slices."""
        if reason in caller.refused:
            return
        caller.refused.add(reason)
        aet = str(caller.association.requestor.ae_title)
        try:
            self._queue.audit.write("refused", caller=aet, reason=reason)
        except OSError as error:
            # The disk that is full for the slice is full for the row as well.
            logger.warning("refused: %s; and no row can be written (%s)", reason, error.strerror)


def readable_syntaxes() -> list[str]:
    """The transfer syntaxes that our reader can decode with the codecs that are installed."""
    return [str(uid) for uid in (*PLAIN, *(uid for uid in PACKED if get_decoder(uid).is_available))]


def _identity(content: bytes) -> tuple[str, str]:
    """SeriesInstanceUID and SOPInstanceUID of a DICOM file.

    Raises:
        ReadError: it cannot be read, or has none that are UIDs.
    """
    bundle = Bundle("", (), lambda _: io.BytesIO(content))
    with quiet():
        dataset = read_dataset(bundle, "an instance", ["SeriesInstanceUID", "SOPInstanceUID"], pixels=False)
        series, instance = (str(dataset.get(name) or "") for name in ("SeriesInstanceUID", "SOPInstanceUID"))
    if not (is_uid(series) and is_uid(instance)):
        raise ReadError("an instance without a valid SeriesInstanceUID or SOPInstanceUID")
    return series, instance
