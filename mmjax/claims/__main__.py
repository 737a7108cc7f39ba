"""Published claims: runs, checks and reports them.

    python -m mmjax.claims run [NAME ...] [--minutes M]     runs their commands, judges and stores the verdicts
    python -m mmjax.claims check [NAME ...]                 validates their files and those of their verdicts
    python -m mmjax.claims report                           writes docs/claims.md

A run that was stopped continues with the same command. Without a NAME, only claims without a verdict that holds are run.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from mmjax.claims.claim import FOLDER, Claim, ClaimError, read_claims
from mmjax.claims.verdict import Verdict, read_verdict, stale, verdict_file
from mmjax.runs.schema import RunError

PAGE = Path("docs") / "claims.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line. Exits with one line for an error, and with code 1 if a claim failed."""
    parser = argparse.ArgumentParser(
        prog="python -m mmjax.claims", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("run", "check", "report"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="files in claims/ without .toml; by default all")
    parser.add_argument("--root", type=Path, default=Path(), help="folder of claims/ and experiments/ (default: this one)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="leave out claims that take more CPU minutes")
    given = parser.parse_args(arguments)
    try:
        claims = _chosen(read_claims(given.root / FOLDER), given.names, given.root)
        verdicts = _verdicts(claims, given.root)
        failed = {"run": _run, "check": _check, "report": _report}[given.action](claims, verdicts, given)
    except (ClaimError, RunError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("stopped; everything is saved: continue with the same command", file=sys.stderr)
        sys.exit(130)
    sys.exit(1 if failed else 0)


def _chosen(claims: list[Claim], names: Sequence[str], root: Path) -> list[Claim]:
    """The named claims, or all."""
    known = {claim.name: claim for claim in claims}
    for name in names:
        if name not in known:
            raise ClaimError(f"{root / FOLDER} has no claim {name!r}; the claims are {', '.join(known)}")
    return [known[name] for name in names or known]


def _verdicts(claims: Sequence[Claim], root: Path) -> dict[str, Verdict]:
    found = {claim.name: read_verdict(verdict_file(root / FOLDER, claim.name)) for claim in claims}
    return {name: verdict for name, verdict in found.items() if verdict}


def _changed(claims: Sequence[Claim], verdicts: dict[str, Verdict], root: Path) -> dict[str, list[str]]:
    """{name: what has changed since its verdict} of the claims whose verdicts are stale."""
    judged = [claim for claim in claims if claim.name in verdicts and claim.command]
    changed = {claim.name: stale(claim, verdicts[claim.name], root / claim.words[0]) for claim in judged}
    return {name: parts for name, parts in changed.items() if parts}


def _run(claims: list[Claim], verdicts: dict[str, Verdict], given: argparse.Namespace) -> int:
    from mmjax.claims.run import run_claims

    return run_claims(claims, given.root, given.minutes, lambda line: print(line, flush=True), again=bool(given.names))


def _check(claims: list[Claim], verdicts: dict[str, Verdict], given: argparse.Namespace) -> int:
    from mmjax.claims.check import check_claim

    errors = 0
    for claim in claims:
        try:
            check_claim(claim, given.root)
        except ClaimError as error:
            errors += 1
            print(f"error: {error}", file=sys.stderr)
    for name, changed in _changed(claims, verdicts, given.root).items():
        print(f"{name} is stale: {' and '.join(changed)} changed since its verdict")
    print(f"{len(claims)} claims, {len(verdicts)} with a verdict, {errors} not valid")
    return errors


def _report(claims: list[Claim], verdicts: dict[str, Verdict], given: argparse.Namespace) -> int:
    from mmjax.claims.report import page
    from mmjax.runs.folder import write_text

    if given.names:
        raise ClaimError("report takes no names: the page has all claims")
    write_text(given.root / PAGE, page(claims, verdicts, _changed(claims, verdicts, given.root)))
    print(f"wrote {given.root / PAGE}: {len(claims)} claims, {len(verdicts)} with a verdict")
    return 0


if __name__ == "__main__":
    main()
