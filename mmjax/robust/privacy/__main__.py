"""`python -m mmjax.robust.privacy RUN`: audits the trained cells of a run whose data have canaries.

Prints for each of these cells the claimed epsilon and the largest lower bound that the audits of its seeds give, jointly at
95 % confidence. Classes that an experiment file defines are found if its folder is in PYTHONPATH.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from mmjax.describe import DescribeError, from_json
from mmjax.robust.privacy.audit import PrivacyAudit
from mmjax.robust.privacy.canaries import Canaries, audit_models

DELTA = 1e-5  # for cells without a guarantee


def audits_of(folder: Path) -> dict[str, tuple[float | None, list[PrivacyAudit]]]:
    """{cell: (claimed epsilon or None, the audit of each seed)} of the cells with canaries. RunError for a damaged folder.

    Half of the canaries are guessed. Only cells on one split are audited.
    """
    from mmjax.results import load_run

    results, found = load_run(folder), {}
    for name in results:
        entry = results.json["cells"][name]
        data = from_json(entry["experiment"]["data"])
        if not isinstance(data, Canaries) or entry["folds"] is not None:
            continue
        cell, privacy = results[name], entry.get("privacy")
        apply, loss = _apply(cell.module), from_json(entry["experiment"]["loss"])
        variables = [cell.variables(seed, part) for part, model in enumerate(cell.models) for seed in model.seeds]
        guesses = data.count // 4 * 2
        delta = DELTA if privacy is None else privacy["delta"]
        audits = audit_models(apply, variables, loss, data, guesses, delta)
        found[name] = (None if privacy is None else privacy["epsilon"], audits)
    return found


def _apply(module: Any) -> Any:
    return lambda variables, batch: module.apply(variables, batch)


def main(arguments: list[str] | None = None) -> None:
    """Prints a line for each audited cell. Exits with one line for an error."""
    from mmjax.runs.schema import RunError

    description = "Audits the cells of a run that were trained with canaries."
    parser = argparse.ArgumentParser(prog="python -m mmjax.robust.privacy", description=description)
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder")
    folder = parser.parse_args(arguments).run
    try:
        found = audits_of(folder)
    except (RunError, DescribeError) as error:
        sys.exit(f"error: {error}")
    if not found:
        sys.exit(f"error: {folder} has no cell on one split whose data are `Canaries`")
    for name, (epsilon, audits) in found.items():
        best = max(audits, key=lambda audit: audit.epsilon)
        claimed = "none" if epsilon is None else f"{epsilon:.3g}"
        share = sum(audit.correct for audit in audits) / sum(audit.guesses for audit in audits)
        print(
            f"{name}: epsilon {claimed}; lower bound {best.epsilon:.2f}, the largest of {len(audits)} seeds; of {best.guesses} "
            f"guesses about {best.canaries} canaries, {share:.3f} are correct on average"
        )


if __name__ == "__main__":
    main()
