"""A cohort in an archive that speaks DICOMweb: what its lists say, without a look into any file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dicomweb_client import DICOMwebClient

from tumorspread.cohort.cases import Case, Found, Skipped, digest_of, safe_id
from tumorspread.cohort.folders import FEWEST_SLICES
from tumorspread.cohort.headers import day_of, name_of
from tumorspread.dicomweb.query import ListedSeries, Study, find_class, find_ct_series, find_studies, parse_query
from tumorspread.dicomweb.server import Credentials, open_client
from tumorspread.scan.dicom_frames import ENHANCED_CT_IMAGES


def find_in_archive(source: str, credentials: Credentials, *, all_series: bool = False) -> Iterator[Found]:
    """The CT series of the studies that a query finds.

    Of a study with several the one with most images is taken; where that is in doubt, each of them.

    Args:
        source: address of the service, or of its studies with a query.
        credentials: where it stands who we are.
        all_series: take each CT series of a study.

    Raises:
        DatasetError: no query.
        NetworkError: the server cannot be reached or refuses, or answers something else.
        ReadError: there is no DICOMweb under its address.
    """
    query = parse_query(source)
    with open_client(credentials.server(query.base)) as client:
        for study in find_studies(client, query):
            yield from _of_study(client, query.base, study, all_series)


def _of_study(client: DICOMwebClient, base: str, study: Study, all_series: bool) -> Iterator[Found]:
    place = f"{base}/studies/{study.uid}"
    is_without = bool(study.modalities) and "CT" not in study.modalities
    listed = [] if is_without else find_ct_series(client, study.uid)
    if not listed:
        yield Skipped(place, f"no CT in this study{': ' if study.modalities else ''}{', '.join(study.modalities)}")
        return
    own = []
    for one in listed:
        if _is_short(one) and find_class(client, study.uid, one.uid) not in ENHANCED_CT_IMAGES:
            reason = f"{one.images} CT slices: no chest; expected {FEWEST_SLICES} at least"
            yield Skipped(f"{place}/series/{one.uid}", reason)
        else:
            own.append(one)
    chosen = own if all_series else _choose(own)
    for one in own:
        if one in chosen:
            yield _case(base, study, one, is_alone=len(chosen) == 1)
        else:
            reason = "another CT series of this study is read: the one with most images"
            yield Skipped(f"{place}/series/{one.uid}", reason)


def _is_short(one: ListedSeries) -> bool:
    return one.images is not None and one.images < FEWEST_SLICES


def _choose(own: Sequence[ListedSeries]) -> Sequence[ListedSeries]:
    """The series with most images; all where that is in doubt, as beside an enhanced CT: it has its slices in one."""
    counts = [one.images or 0 for one in own]
    if any(one.images is None or _is_short(one) for one in own) or counts.count(max(counts, default=0)) > 1:
        return own
    return sorted(own, key=lambda one: one.images or 0)[-1:]


def _case(base: str, study: Study, one: ListedSeries, *, is_alone: bool) -> Case:
    return Case(
        safe_id(study.uid if is_alone else f"{study.uid}_{one.uid[-12:]}"),
        base,
        series=one.uid,
        study=study.uid,
        patient=name_of(study.patient) or None,
        date=day_of(study.date) or None,
        stamp=digest_of(f"{one.uid} {one.images}")[:12],
    )
