"""Another DICOM node, and what it is to be sent."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from tumorspread.errors import NetworkError, TumorspreadError
from tumorspread.scan.bundle import open_bundle
from tumorspread.scan.dicom_frames import read_dataset

# PS3.5 section 6.2: 16 characters, no backslash, no control characters, not only spaces.
AET = re.compile(r"(?! +$)[ -\[\]-~]{1,16}")
CONNECT_S = 10.0
# PS3.7 annex C and PS3.4 annex B.2.3: taken, taken with a remark, and "duplicate SOP instance": it is there already.
TAKEN = (0x0000, 0xB000, 0xB006, 0xB007, 0x0111)


@dataclass(frozen=True)
class Peer:
    """Application entity title, host and port of a node."""

    aet: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.aet}@{self.host}:{self.port}"


def parse_peer(text: str) -> Peer:
    """A node from text such as `PACS@10.0.0.7:104`.

    Raises:
        NetworkError: another form, title or port.
    """
    found = re.fullmatch(r"(?P<aet>[^@]+)@(?P<host>[^@\s]+):(?P<port>[0-9]{1,5})", text)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise NetworkError(f"{text!r}: expected AET@host:port, such as PACS@10.0.0.7:104")
    return Peer(check_aet(found["aet"]), found["host"].strip("[]"), int(found["port"]))


def check_aet(text: str) -> str:
    """The text, where it is an application entity title.

    Raises:
        NetworkError: it is none.
    """
    if AET.fullmatch(text) is None:
        raise NetworkError(f"{text!r} is no AE title: expected 1 to 16 ASCII characters without a backslash")
    return text.strip()


class Sender:
    """Sends files to a node by C-STORE, one association at a time.

    Args:
        aet: our own title.
        peer: where to.
        tls: None speaks without TLS.
    """

    def __init__(self, aet: str, peer: Peer, tls: ssl.SSLContext | None = None) -> None:
        self.peer = peer
        self._tls = tls
        self._ae = AE(ae_title=aet)
        self._ae.connection_timeout = CONNECT_S
        self._open: Association | None = None
        self._lock = threading.Lock()
        self._is_stopped = False

    def __call__(self, files: Sequence[Path]) -> None:
        """Send files.

        Raises:
            NetworkError: the node cannot be reached, or has not taken all of them.
        """
        with self.associate(_contexts(files)) as association:
            for number, file in enumerate(files):
                self._store(association, file, number + 1)

    @contextmanager
    def associate(self, contexts: Sequence[PresentationContext], **options: object) -> Iterator[Association]:
        """An association with the node, released at the end.

        Raises:
            NetworkError: there is none to be had, and why.
        """
        tls = None if self._tls is None else (self._tls, self.peer.host)
        with self._lock:
            if self._is_stopped:
                raise NetworkError("the listener was stopped")
        association = self._ae.associate(
            self.peer.host, self.peer.port, list(contexts), self.peer.aet, tls_args=tls, **options
        )
        self._open = association
        try:
            if not association.is_established:
                raise NetworkError(f"{self.peer}: {_refusal(association)}")
            yield association
        finally:
            self._open = None
            if association.is_established:
                association.release()

    def stop(self) -> None:
        """Break off what is being sent; it is not taken then."""
        with self._lock:
            self._is_stopped = True
        association = self._open
        if association is not None and association.is_established:
            association.abort()

    def _store(self, association: Association, file: Path, number: int) -> None:
        try:
            status = association.send_c_store(file, msg_id=number)
        except ValueError as error:
            raise NetworkError(f"{self.peer} does not take objects such as {file.name}") from error
        except RuntimeError as error:
            raise NetworkError(f"{self.peer} broke the association before {file.name}") from error
        code = status.get("Status")
        if code is None:
            raise NetworkError(f"{self.peer} gave no answer to {file.name}")
        if code not in TAKEN:
            raise NetworkError(f"{self.peer} refused {file.name} with status 0x{code:04X}")


def _contexts(files: Iterable[Path]) -> list[PresentationContext]:
    """A context each for class and transfer syntax, and one for what every node must understand (PS3.5 10.1)."""
    pairs: dict[tuple[str, str], None] = {}
    for file in files:
        try:
            with open_bundle(file) as bundle:
                dataset = read_dataset(bundle, file.name, ["SOPClassUID"], pixels=False)
        except TumorspreadError as error:
            raise NetworkError(f"cannot send: {error}") from error
        syntax = dataset.file_meta.TransferSyntaxUID
        pairs[str(dataset.get("SOPClassUID", "")), str(syntax)] = None
        if not syntax.is_compressed:
            pairs[str(dataset.get("SOPClassUID", "")), str(ImplicitVRLittleEndian)] = None
    return [build_context(kind, syntax) for kind, syntax in pairs]


def _refusal(association: Association) -> str:
    if association.is_rejected:
        return "rejected the association; does it know our AE title, and we its?"
    if association.is_aborted:
        return "broke off; if it speaks TLS, are the certificates right?"
    return "cannot be reached; is it running, and are host and port right?"
