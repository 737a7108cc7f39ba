"""`python -m mmjax.audit RUN [CELL] [AUDIT ...]`: audits a trained cell, and shows what was found in the run's report."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmjax.audit

EPILOG = f"""The audits are {", ".join(mmjax.audit.AUDITS)}. Those that do not apply to the cell are left out. Some load the
models and the data again: put the folder of the experiment file into PYTHONPATH if it defines classes of its own."""


def main(arguments: list[str] | None = None) -> None:
    """Prints the conclusions and writes audits and report. Exits with one line for an error."""
    parser = argparse.ArgumentParser(prog="python -m mmjax.audit", description="Audits a trained cell.", epilog=EPILOG)
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("cell", nargs="?", metavar="CELL", help="a cell of the run (default: the selected one)")
    parser.add_argument("audits", nargs="*", metavar="AUDIT", help="names of audits (default: all)")
    parser.add_argument(
        "--reference", metavar="CELL", help="for corruptions: a cell, such as late fusion, for effective robustness"
    )
    parser.add_argument("--task", help="a task of the cell (default: its first one)")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.audits if name not in mmjax.audit.AUDITS]
    if unknown and unknown[0] in mmjax.audit.RENAMED:
        sys.exit(f"error: the audit {unknown[0]} is now called {mmjax.audit.RENAMED[unknown[0]]}")
    if unknown:
        sys.exit(f"error: there is no audit {unknown[0]!r}; the audits are {', '.join(mmjax.audit.AUDITS)}")
    if given.reference and given.audits and "corruptions" not in given.audits:
        sys.exit("error: --reference is for the audit corruptions, which is not among those named")
    from mmjax.data.decode import DataError
    from mmjax.experiment.cli import prepare_jax
    from mmjax.pretrained.files import WeightsError
    from mmjax.report.page import write_report
    from mmjax.runs.schema import RunError

    prepare_jax()
    began = time.monotonic()
    try:
        audited = mmjax.audit.load_audited(given.run, given.cell, given.task)
        reference = given.reference and mmjax.audit.load_audited(given.run, given.reference, given.task)
    except KeyError as error:
        hint = "; name the cell before its audits" if given.cell in mmjax.audit.AUDITS else ""
        sys.exit(f"error: {error.args[0]}{hint}")
    except RunError as error:
        sys.exit(f"error: {error}")
    try:
        run_audits(audited, given.audits, {"corruptions": {"reference": reference}} if reference else {})
        page = write_report([given.run], given.run / "report.html")
    except (DataError, ImportError, RunError, WeightsError) as error:
        sys.exit(f"error: {error}")
    print(f"\nwrote {given.run / 'audits'} and {page} in {time.monotonic() - began:.0f} s")


def run_audits(
    audited: "mmjax.audit.Audited", names: Sequence[str], options: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """{name: `Audit`} of these audits, or of all that apply to the cell, which are printed and written to the run folder.

    options: {audit: keyword arguments}. RunError and the errors of data and weights; a named audit that does not apply is a
    RunError too.
    """
    from mmjax.runs.schema import RunError

    found = {}
    print(f"cell {audited.cell}, task {audited.task_name}")
    for name in names or mmjax.audit.AUDITS:
        began = time.monotonic()
        try:
            audit = getattr(mmjax.audit, name)(audited, **(options or {}).get(name, {}))
        except mmjax.audit.NotApplicable as error:
            if names:
                raise RunError(f"audit {name}: {error}") from None
            print(f"\n{name}: left out, since {error}")
            continue
        audited.write(audit)
        found[name] = audit
        print(f"\n{audit.title} ({name}, {time.monotonic() - began:.1f} s)")
        for text in [*(f"WARNING: {one}" for one in audit.warnings), *audit.conclusions]:
            print(f"  {text}")
    return found


if __name__ == "__main__":
    main()
