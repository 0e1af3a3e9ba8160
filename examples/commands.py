"""Commands of tumorspread as a user would type them: printed, then run."""

from __future__ import annotations

import shlex
import subprocess
import sys


def run_command(arguments: str) -> None:
    """Run `tumorspread` with these arguments; end the program with its exit status where it fails."""
    status = try_command(arguments)
    if status:
        sys.exit(status)


def try_command(arguments: str) -> int:
    """Run `tumorspread` with these arguments and give its exit status."""
    print(f"\n$ tumorspread {arguments}", flush=True)
    return subprocess.run([sys.executable, "-m", "tumorspread", *shlex.split(arguments)], check=False).returncode
