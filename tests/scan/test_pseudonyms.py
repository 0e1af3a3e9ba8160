"""Stand-ins: one key one answer, known again, never undone, and a key file that nothing overwrites."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from tumorspread.errors import OutputError, ReadError
from tumorspread.scan.pseudonyms import LEAST_DAYS, MOST_DAYS, Pseudonyms, new_key, read_key, write_key

ONE, OTHER = Pseudonyms(bytes(range(32))), Pseudonyms(bytes(range(1, 33)))
TEXTS = st.text(min_size=1, max_size=64).filter(lambda text: text.strip(" \0"))
UIDS = st.lists(st.integers(0, 10**9), min_size=2, max_size=6).map(lambda parts: "1.2." + ".".join(map(str, parts)))


@given(TEXTS)
def test_a_name_is_known_again_by_its_key_alone(text):
    name = ONE.name(text)
    assert len(name) == 26
    assert name == ONE.name(f" {text}\0") == ONE.name(name)
    assert ONE.is_own_name(name)
    assert not OTHER.is_own_name(name)
    assert OTHER.name(text) != name


@given(UIDS)
def test_a_uid_is_valid_and_known_again_by_its_key_alone(uid):
    stand_in = ONE.uid(uid)
    assert UID(stand_in).is_valid
    assert stand_in != uid
    assert ONE.uid(stand_in) == stand_in == ONE.uid(f"{uid}\0")
    assert OTHER.uid(stand_in) not in (stand_in, uid)


@pytest.mark.parametrize("uid", ["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", ""])
def test_what_dicom_registers_and_nothing_stay(uid):
    assert ONE.uid(uid) == uid


def test_random_uids_under_2_25_are_not_taken_for_our_own():
    uids = [f"2.25.{number}" for number in (0, 1, 2**128 - 1, 2**128, 10**45)]
    assert all(ONE.uid(uid) != uid for uid in [*uids, "2.25.", "2.25.x", "2.25.\u0663"])


def test_many_uids_stay_apart():
    assert len({ONE.uid(f"1.2.3.{number}") for number in range(5000)}) == 5000


def test_days_spread_over_their_whole_range():
    days = [ONE.days(f"P{number}") for number in range(3000)]
    assert LEAST_DAYS <= min(days) < LEAST_DAYS + 30
    assert MOST_DAYS - 30 < max(days) <= MOST_DAYS
    # The mean of a uniform spread over 3651 days is known to 19 days from 3000 of them.
    assert abs(sum(days) / len(days) - (LEAST_DAYS + MOST_DAYS) / 2) < 4 * 19
    assert ONE.days("P1") == ONE.days(" P1 ") == ONE.days(ONE.name("P1")) != OTHER.days("P1")


def test_a_key_is_read_as_it_was_written_and_its_owner_alone_may(tmp_path):
    key = new_key()
    write_key(tmp_path / "study.key", key)
    assert read_key(tmp_path / "study.key") == key
    assert stat.S_IMODE((tmp_path / "study.key").stat().st_mode) == 0o600
    assert new_key() != key


def test_a_key_is_never_overwritten(tmp_path):
    write_key(tmp_path / "study.key", bytes(32))
    with pytest.raises(OutputError, match=r"study\.key: the key cannot be written"):
        write_key(tmp_path / "study.key", bytes(range(32)))
    assert read_key(tmp_path / "study.key") == bytes(32)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "0 bytes of key"),
        (b"abcd\n", "2 bytes of key"),
        (b"secret password", "not a key; expected one line of 64 hexadecimal digits"),
        (b"\xff" * 64, "not a key"),
    ],
)
def test_what_is_no_key_is_refused_without_quoting_it(tmp_path, text, words):
    (tmp_path / "study.key").write_bytes(text)
    with pytest.raises(ReadError, match=words) as refusal:
        read_key(tmp_path / "study.key")
    assert "password" not in str(refusal.value)


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(ReadError, match=r"none\.key: the key cannot be read \(No such file"):
        read_key(tmp_path / "none.key")
