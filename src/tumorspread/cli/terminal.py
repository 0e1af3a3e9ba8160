"""What the verbs share: messages, progress bars, numbers from text."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tumorspread.errors import OutputError, TumorspreadError

if TYPE_CHECKING:
    from tumorspread.measurement.written import Written


def say(line: str) -> None:
    """A message for people, on stderr."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on stderr with the remaining time; on no terminal, nothing.

    Yields:
        To be called with (done, total), total None while it is unknown.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(label), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def tell(answer: Written, show: Callable[[], None], report: Path, *, as_json: bool) -> None:
    """How a verb ends: warnings on stderr, the answer on stdout as JSON or as `show` prints it, where to look.

    Args:
        answer: with its warnings.
        show: prints it for people.
        report: of the result folder.
        as_json: print it for machines.
    """
    for warning in answer.warnings:
        say(f"warning: {warning.text}")
    if as_json:
        print(answer.to_json(), end="")
    else:
        show()
    say(f"look at {report}")


def parse_triple(text: str | None, option: str) -> tuple[float, float, float] | None:
    """Three numbers from text such as `2.5,0.8,0.8`; None for None.

    Raises:
        TumorspreadError: another number of values, or something that is not a number.
    """
    if text is None:
        return None
    a, b, c = parse_numbers(text, option, 3)
    return a, b, c


def parse_pair(text: str | None, option: str) -> tuple[float, float] | None:
    """Two numbers, as `parse_triple`."""
    if text is None:
        return None
    a, b = parse_numbers(text, option, 2)
    return a, b


def parse_numbers(text: str, option: str, count: int | None = None) -> list[float]:
    """Finite numbers from text such as `0,90`; `count` of them where it is given.

    Raises:
        TumorspreadError: another number of values, or something that is not a number.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(map(math.isfinite, numbers)) or count not in (None, len(numbers)):
        wanted = "numbers" if count is None else f"{count} numbers"
        raise TumorspreadError(f"{option} {text}: expected {wanted} with commas between them")
    return numbers


def print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A plain table on stdout, columns aligned, numbers to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        cells = (cell.rjust(w) if _is_number(cell) else cell.ljust(w) for cell, w in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).replace("-", "", 1).isdigit()


def refuse_existing(out: Path, force: bool) -> None:
    """Refuse, before the work that makes it, a file that cannot be written or would overwrite another."""
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise OutputError(f"cannot write {out}: {folder} is a file; name another folder")
    if out.exists() and not force:
        raise OutputError(f"{out} is there already; name another file, or replace it with --force")
