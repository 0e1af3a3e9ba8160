"""What the listener turns away: strangers, too much, what a full disk cannot hold, and what is not as announced."""

from __future__ import annotations

import errno

import pytest

from tumorspread import durable
from tumorspread.pacs.queue import Rules


def uid_of(slices):
    return slices[0].SeriesInstanceUID


def test_an_unknown_title_is_rejected_and_told_of(net, pacs, start_listener):
    slices = net.make_series(2)
    listener = start_listener(pacs.port)
    assert net.send(listener.port, slices, calling="STRANGER") == []
    assert net.send(listener.port, slices, called="OTHER") == []
    net.wait_for(lambda: listener.events() == ["refused", "refused"])
    assert [row["aet"] for row in listener.rows()] == ["STRANGER", "PACS"]
    assert not list((listener.seat.folder / "series").iterdir())


def test_a_series_with_too_many_images_is_cut_with_0xa700(net, pacs, start_listener):
    listener = start_listener(pacs.port, rules=Rules(0.1, 1.0, max_images=3))
    assert net.send(listener.port, net.make_series(5)) == [0, 0, 0, 0xA700, 0xA700]
    assert listener.events().count("refused") == 1


def test_a_queue_that_is_full_takes_no_more(net, pacs, start_listener):
    listener = start_listener(pacs.port, rules=Rules(0.1, 1.0, max_bytes=20_000))
    assert net.send(listener.port, net.make_series(4)) == [0, 0, 0xA700, 0xA700]


def test_a_full_disk_answers_0xa700_and_leaves_nothing_half(net, pacs, start_listener, monkeypatch):
    slices = net.make_series(6)
    listener = start_listener(pacs.port)
    real, full = durable.os.fsync, [True]

    def fsync(handle):
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(durable.os, "fsync", fsync)
    assert net.send(listener.port, slices) == [0xA700] * 6
    assert not list((listener.seat.folder / "unfinished").iterdir())
    assert not list((listener.seat.folder / "series").rglob("*.dcm"))
    full[0] = False
    assert net.send(listener.port, slices) == [0] * 6
    listener.wait_state(uid_of(slices), "done")
    assert len(pacs.got) == 1


def test_a_disk_that_is_full_during_the_analysis_loses_nothing(net, pacs, start_listener):
    slices, calls = net.make_series(4), []

    def analyse(series, out):
        calls.append(1)
        if len(calls) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return net.echo_analysis(series, out)

    listener = start_listener(pacs.port, analyse)
    net.send(listener.port, slices)
    listener.wait_state(uid_of(slices), "done")
    assert len(calls) == 3
    assert len(pacs.got) == 1


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_an_instance_that_is_not_what_it_was_announced_as_is_refused(net, pacs, start_listener):
    slices = net.make_series(2)
    slices[1].SeriesInstanceUID = "../../etc"
    listener = start_listener(pacs.port)
    assert net.send(listener.port, slices) == [0, 0xC000]
    assert "without a valid SeriesInstanceUID" in listener.rows()[0]["reason"]
