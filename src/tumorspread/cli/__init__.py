"""The command line: the only place that prints.

Results go to stdout, messages and progress bars to stderr. Exit 0: done; 1: refused, with one line that says why;
2: wrong usage; 130: interrupted.
"""

from tumorspread.cli.app import main

__all__ = ["main"]
