"""Storage commitment (DICOM PS3.4 annex J): which of the named instances are here for good.

Answered with an N-EVENT-REPORT: to the node that we know, by a new association; to others, whose port we cannot know,
on the association that asked, where it is still open.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom import build_context, build_role
from pynetdicom.events import Event
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from tumorspread.errors import NetworkError
from tumorspread.pacs.peer import Sender
from tumorspread.pacs.queue import Queue
from tumorspread.scan.dicom_frames import PYDICOM_FAULTS

logger = logging.getLogger(__name__)

# PS3.4 table J.3-2 and PS3.7 annex C.
REQUEST, ALL_HERE, SOME_MISSING = 1, 1, 2
NO_SUCH_INSTANCE, INVALID_ARGUMENT, NO_SUCH_ACTION, SUCCESS = 0x0112, 0x0115, 0x0123, 0x0000
# Before a report is tried again, seconds; who hears nothing after that asks again.
RETRY_S = (0.0, 2.0, 10.0, 60.0)


class Commitment:
    """Answers requests.

    Args:
        queue: what is here.
        sender: to the node that we know.
        stop: set when the listener stops.
    """

    def __init__(self, queue: Queue, sender: Sender, stop: threading.Event) -> None:
        self._queue = queue
        self._sender = sender
        self._stop = stop

    def answer(self, event: Event) -> tuple[int, None]:
        """Take a request (N-ACTION); the report follows from a thread of its own."""
        if event.action_type != REQUEST:
            return NO_SUCH_ACTION, None
        try:
            asked = event.action_information
            transaction = str(asked.TransactionUID)
            names = [
                (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
                for item in asked.ReferencedSOPSequence
            ]
        except PYDICOM_FAULTS:
            return INVALID_ARGUMENT, None
        report = self._report(transaction, names)
        threading.Thread(target=self._deliver, args=(event.assoc, report), daemon=True).start()
        return SUCCESS, None

    def _report(self, transaction: str, names: list[tuple[str, str]]) -> Dataset:
        report = Dataset()
        report.TransactionUID = transaction
        here, missing = [], []
        for kind, instance in names:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = kind, instance
            if self._queue.holds(instance):
                here.append(item)
            else:
                item.FailureReason = NO_SUCH_INSTANCE
                missing.append(item)
        if here:
            report.ReferencedSOPSequence = Sequence(here)
        if missing:
            report.FailedSOPSequence = Sequence(missing)
        return report

    def _deliver(self, association: Any, report: Dataset) -> None:
        missing = len(report.get("FailedSOPSequence", []))
        text = f"{len(report.get('ReferencedSOPSequence', []))} instances here, {missing} not"
        caller = str(association.requestor.ae_title).strip()
        is_known = caller == self._sender.peer.aet
        trouble = ""
        for wait_s in RETRY_S:
            if self._stop.wait(wait_s):
                return
            try:
                if is_known:
                    self._report_anew(report)
                else:
                    _send_report(association, report)
                self._queue.audit.write("committed", caller=caller, reason=text)
                return
            except (NetworkError, RuntimeError, ValueError) as error:
                trouble = str(error)
        self._queue.audit.write("uncommitted", caller=caller, reason=f"{text}; nobody took the answer: {trouble}")

    def _report_anew(self, report: Dataset) -> None:
        # Who opens an association is SCU unless both agree otherwise (PS3.7 annex D.3.3.4).
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        contexts = [build_context(StorageCommitmentPushModel)]
        with self._sender.associate(contexts, ext_neg=[role]) as association:
            _send_report(association, report)


def _send_report(association: Any, report: Dataset) -> None:
    kind = SOME_MISSING if "FailedSOPSequence" in report else ALL_HERE
    status, _ = association.send_n_event_report(
        report, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    if status.get("Status") != SUCCESS:
        raise NetworkError("the report was not accepted")
