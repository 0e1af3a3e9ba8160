"""Storage commitment: what is here is said to be here, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance


def test_storage_commitment_is_answered_on_a_new_association_to_the_known_node(net, start_listener):
    reports = []
    pacs = net.Pacs()
    pacs.ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)

    def take(event):
        reports.append((event.event_type, event.event_information))
        return 0, None

    pacs.start((evt.EVT_N_EVENT_REPORT, take))
    slices = net.make_series(3)
    listener = start_listener(pacs.port)
    net.send(listener.port, slices[:2])
    request(net, listener.port, slices, "PACS")
    net.wait_for(lambda: reports)
    pacs.stop()
    check_report(*reports[0], slices)


def test_storage_commitment_is_answered_on_the_same_association_to_others(net, pacs, start_listener):
    reports = []

    def take(event):
        reports.append((event.event_type, event.event_information))
        return 0, None

    slices = net.make_series(3)
    listener = start_listener(pacs.port)
    listener_access = listener.seat.access
    listener.end()
    listener = start_listener(pacs.port, access=replace(listener_access, allow=("CT1",)))
    net.send(listener.port, slices[:2], calling="CT1")
    request(net, listener.port, slices, "CT1", handlers=[(evt.EVT_N_EVENT_REPORT, take)], until=lambda: reports)
    check_report(*reports[0], slices)
    net.wait_for(lambda: "committed" in listener.events())


def request(net, port, slices, calling, *, handlers=(), until=lambda: True):
    ae = AE(calling)
    ae.add_requested_context(StorageCommitmentPushModel)
    opened = ae.associate("127.0.0.1", port, ae_title="SPREAD", evt_handlers=list(handlers))
    asked = Dataset()
    asked.TransactionUID, asked.ReferencedSOPSequence = generate_uid(), []
    for one in slices:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
        asked.ReferencedSOPSequence.append(item)
    status, _ = opened.send_n_action(asked, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    assert status.Status == 0
    net.wait_for(until)
    opened.release()


def check_report(kind, report, slices):
    assert kind == 2
    here = [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence]
    missing = [(item.ReferencedSOPInstanceUID, item.FailureReason) for item in report.FailedSOPSequence]
    assert here == [one.SOPInstanceUID for one in slices[:2]]
    assert missing == [(slices[2].SOPInstanceUID, 0x0112)]
