"""`python -m mmjax.report RUN [RUN ...] [--out report.html]`: the tables in the terminal, and the page."""

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console

from mmjax.report.page import write_report
from mmjax.report.tables import print_results
from mmjax.runs.read import read_run
from mmjax.runs.schema import RunError


def main() -> None:
    """Runs `report`, also if the reader of its output closes the pipe."""
    try:
        try:
            report()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python reports the error again at exit
        sys.exit(1)


def report() -> None:
    """Reads the command line, prints the tables and writes the page. Exits with one line for an error."""
    parser = argparse.ArgumentParser(
        prog="python -m mmjax.report",
        description="Make one self-contained HTML page from run folders, and print the tables of each run.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders; several are compared in joint tables")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page to write (default: report.html)")
    given = parser.parse_args()
    console = Console(highlight=False)
    try:
        if given.out.is_dir():
            sys.exit(f"error: --out {given.out} is a folder; name a file")
        for results in [read_run(folder).results for folder in given.runs]:
            print_results(results, console)
        page = write_report(given.runs, given.out)
    except (RunError, ImportError) as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.exit(f"error: {error.filename or given.out}: {error.strerror}")
    print(f"wrote {page}")


if __name__ == "__main__":
    main()
