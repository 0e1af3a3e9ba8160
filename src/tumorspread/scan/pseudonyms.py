"""Keyed stand-ins for identifiers: the same key gives the same stand-in, and without the key none can be undone.

Each stand-in carries a check made with the key, so that one is known again and never replaced twice: a study
that was de-identified goes through unchanged.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from pydicom.uid import UID_dictionary

from tumorspread.errors import OutputError, ReadError

KEY_BYTES = 32
# A key typed by hand is guessed; below 128 bits it can be searched for.
LEAST_KEY_BYTES = 16
# PS3.5 B.2: a UID of a 128-bit number under 2.25.
UID_ROOT = "2.25."
NAME_PREFIX = "TS"
# 80 bits keep 10^9 identifiers apart (one chance in 10^6 of any two alike); the check takes the rest.
BODY_BYTES = 10
UID_BYTES, NAME_BYTES = 16, 15
# Every patient's dates go back by one to eleven years: never by nothing, and never into the future.
LEAST_DAYS, MOST_DAYS = 365, 4015


class Pseudonyms:
    """Stand-ins made with one key.

    Raises:
        ReadError: a key of less than 16 bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < LEAST_KEY_BYTES:
            raise ReadError(f"a key of {len(key)} bytes; expected at least {LEAST_KEY_BYTES}, better {KEY_BYTES}")
        self._key = bytes(key)

    def uid(self, uid: str) -> str:
        """A UID under 2.25 for `uid`; a UID that DICOM registers, an empty one and our own stay."""
        bare = uid.strip(" \0")
        if not bare or bare in UID_dictionary or self._is_own_uid(bare):
            return bare
        return UID_ROOT + str(int.from_bytes(self._token("uid", bare, UID_BYTES), "big"))

    def name(self, text: str) -> str:
        """`TS` and 24 letters and digits for any text, such as a PatientID; our own stay."""
        bare = text.strip(" \0")
        if self.is_own_name(bare):
            return bare
        return NAME_PREFIX + base64.b32encode(self._token("name", bare, NAME_BYTES)).decode()

    def is_own_name(self, text: str) -> bool:
        """Whether `name` made this text with this key."""
        try:
            token = base64.b32decode(text.removeprefix(NAME_PREFIX))
        except (binascii.Error, ValueError):
            return False
        return text.startswith(NAME_PREFIX) and self._is_own("name", token, NAME_BYTES)

    def days(self, patient: str) -> int:
        """By how many days this patient's dates go back, 365 to 4015."""
        digest = self._digest("days", self.name(patient).encode())
        return LEAST_DAYS + int.from_bytes(digest[:8], "big") % (MOST_DAYS - LEAST_DAYS + 1)

    def _is_own_uid(self, uid: str) -> bool:
        digits = uid.removeprefix(UID_ROOT)
        if not uid.startswith(UID_ROOT) or not digits.isascii() or not digits.isdigit() or len(digits) > 39:
            return False
        number = int(digits)
        return number < 2 ** (8 * UID_BYTES) and self._is_own("uid", number.to_bytes(UID_BYTES, "big"), UID_BYTES)

    def _token(self, kind: str, text: str, size: int) -> bytes:
        body = self._digest(kind, text.encode())[:BODY_BYTES]
        return body + self._digest(f"{kind} check", body)[: size - BODY_BYTES]

    def _is_own(self, kind: str, token: bytes, size: int) -> bool:
        check = self._digest(f"{kind} check", token[:BODY_BYTES])[: size - BODY_BYTES]
        return len(token) == size and hmac.compare_digest(token[BODY_BYTES:], check)

    def _digest(self, kind: str, data: bytes) -> bytes:
        return hmac.new(self._key, kind.encode() + b"\0" + data, hashlib.sha256).digest()


def new_key() -> bytes:
    """A random key of 32 bytes."""
    return secrets.token_bytes(KEY_BYTES)


def read_key(path: Path) -> bytes:
    """The key in a file that `write_key` wrote.

    Raises:
        ReadError: no such file, or it holds something else than 32 or more hexadecimal digits.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(4096).decode("ascii").strip()
        key = bytes.fromhex(text)
    except OSError as error:
        raise ReadError(
            f"{path}: the key cannot be read ({error.strerror or error}); `tumorspread deidentify` makes one"
        ) from error
    except ValueError as error:
        raise ReadError(f"{path}: not a key; expected one line of {2 * KEY_BYTES} hexadecimal digits") from error
    if len(key) < LEAST_KEY_BYTES:
        raise ReadError(f"{path}: {len(key)} bytes of key; expected one line of {2 * KEY_BYTES} hexadecimal digits")
    return key


def write_key(path: Path, key: bytes) -> None:
    """Write a key that its owner alone may read; a file that is there is never overwritten.

    Raises:
        OutputError: the file is there already, or cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(key.hex() + "\n")
    except OSError as error:
        raise OutputError(f"{path}: the key cannot be written ({error.strerror or error})") from error
