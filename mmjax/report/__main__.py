"""`python -m mmjax.report RUN [RUN ...] [--out report.html]`: the tables in the terminal, and the page."""

import sys
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from mmjax.report.page import write_report
from mmjax.runs.read import read_run
from mmjax.runs.schema import RunError
from mmjax.report.tables import results_table, verdict_sentences


def main(
    run: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN [RUN ...]")]],
    out: Path = Path("report.html"),
) -> None:
    """Make one self-contained HTML page out of run folders, and print each run's table.

    Args:
        run: Run folders, a section of the page each.
        out: The page to write.
    """
    if not run:
        sys.exit("error: a report needs at least one run folder")
    console = Console(highlight=False)
    try:
        for results in [read_run(folder).results for folder in run]:
            console.print(results_table(results, console.width))
            for sentence in verdict_sentences(results):
                console.print(sentence, markup=False)
        console.print(f"wrote {write_report(run, out)}", markup=False)
    except RunError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    tyro.cli(main, prog="python -m mmjax.report")
