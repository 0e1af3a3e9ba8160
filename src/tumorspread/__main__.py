"""`python -m tumorspread`: the command line."""

from tumorspread.cli import main

main()
