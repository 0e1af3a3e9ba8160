"""What there is to do, and what there is not: the cases of a cohort, and the files that are none."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace

LONGEST_ID = 100
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True)
class Case:
    """One scan to analyse; or one patient to follow, whose scans are `visits`.

    Attributes:
        id: its name in the cohort and of its result folder; letters, digits and `._+-`.
        scan: address of the scan: a path, or what fsspec opens; of a DICOMweb study its server's; a patient has none.
        series: SeriesInstanceUID in that folder; None where it holds one, or `read` chooses.
        study: StudyInstanceUID on a DICOMweb server; None elsewhere.
        mask: address of somebody's outlines to compare with; None where there are none.
        patient: whose scan it is, as the user or the archive names him; None where unknown.
        date: of the scan, YYYY-MM-DD; None where unknown.
        stamp: changes when the scan's files do.
        size_bytes: of the scan's files; 0 where unknown.
        visits: of a patient, the scans in the order of their dates; a scan has none.
    """

    id: str
    scan: str = ""
    series: str | None = None
    study: str | None = None
    mask: str | None = None
    patient: str | None = None
    date: str | None = None
    stamp: str = ""
    size_bytes: int = 0
    visits: tuple[Case, ...] = ()

    def to_json(self) -> str:
        """One line."""
        return json.dumps({name: value for name, value in asdict(self).items() if value not in (None, "", 0, ())})

    @classmethod
    def from_json(cls, line: str) -> Case:
        """Read back what `to_json` wrote."""
        values = json.loads(line)
        visits = tuple(cls(**{**visit, "visits": ()}) for visit in values.pop("visits", ()))
        return cls(**values, visits=visits)


@dataclass(frozen=True)
class Skipped:
    """Something that was found and is no case.

    Attributes:
        place: file or folder.
        reason: why not, for people.
    """

    place: str
    reason: str


Found = Case | Skipped


def safe_id(name: str) -> str:
    """A name fit for a folder: what had to be changed is told apart by six letters of its hash.

    >>> safe_id("trial/p 7/ct"), safe_id("p7/ct")
    ('trial__p_7__ct-7d15c1', 'p7__ct')
    """
    kept = _UNSAFE.sub("_", name.strip("/").replace("/", "__")).lstrip(".")
    if kept == name.strip("/").replace("/", "__") and 0 < len(kept) <= LONGEST_ID:
        return kept
    return f"{kept[:LONGEST_ID]}-{digest_of(name)[:6]}"


def digest_of(text: str) -> str:
    """SHA-256 as hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def with_own_ids(found: Iterable[Found]) -> Iterator[Found]:
    """The same, where a case whose id was there before gets one of its own, made of its scan's address."""
    seen: set[int] = set()
    for one in found:
        if isinstance(one, Case):
            if hash(one.id) in seen:
                one = replace(one, id=f"{one.id}-{digest_of(f'{one.scan} {one.series}')[:6]}")
            seen.add(hash(one.id))
        yield one
