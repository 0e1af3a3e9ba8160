"""What a cohort leaves for people: tables and the report, made from the rows that there are."""

from __future__ import annotations

from tumorspread.cohort.place import Place
from tumorspread.cohort.run import collect
from tumorspread.cohort.tables import write_tables


def write_outcome(place: Place) -> int:
    """Write the tables and the report.

    Returns:
        The number of rows.

    Raises:
        OutputError: they cannot be written.
    """
    return write_tables(collect(place), place)
