"""Runs the command of a claim, judges its results, and stores the verdict."""

import datetime
import hashlib
import subprocess
import sys
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any

from mmjax.claims.check import check_claim
from mmjax.claims.claim import FOLDER, Cheaper, Claim, ClaimError
from mmjax.claims.fingerprints import code_fingerprint, data_fingerprint
from mmjax.claims.judge import judge
from mmjax.claims.measure import measure
from mmjax.claims.verdict import Verdict, read_verdict, stale, verdict_file, write_verdict
from mmjax.results import load_run

__all__ = ["INTERRUPTED", "run_claim", "run_claims", "run_folder"]

INTERRUPTED = 130  # the code of a command that was stopped and can continue


def run_folder(claim: Claim, root: Path) -> Path:
    """The run folder of a claim's command and the present code, which claims with the same command share."""
    key = hashlib.sha256(f"{claim.words} {code_fingerprint(root / claim.words[0])}".encode()).hexdigest()
    return root.resolve() / "runs" / FOLDER / f"{Path(claim.words[0]).stem}-{key[:10]}"


def run_claim(claim: Claim, root: Path, finished: Container[Path] = ()) -> Verdict:
    """Runs the command, or continues it where it was stopped, and stores the verdict. Its progress is that of the experiment.
    The verdict belongs to the code as it is when the command starts.

    root: the folder with claims/ and experiments/. finished: run folders that are complete. ClaimError if the claim has no
    command or is not valid, or if the command fails. KeyboardInterrupt if it was stopped.
    """
    if not claim.command:
        raise ClaimError(f"claim {claim.name} cannot run here; it needs {claim.needs}")
    cells = check_claim(claim, root)
    out, code = run_folder(claim, root), code_fingerprint(root / claim.words[0])
    command = [sys.executable, *claim.words, "--out", str(out), "--resume"]
    ended = 0 if out in finished else subprocess.run(command, cwd=root).returncode
    if ended in (INTERRUPTED, -2):
        raise KeyboardInterrupt
    if ended:
        raise ClaimError(f"claim {claim.name}: its command ended with code {ended}: {claim.command}")
    results = load_run(out)
    costly = [one for one in claim.expectations if isinstance(one, Cheaper)]
    compared = {name: cells[name] for name in cells if any(name in one.cells for one in costly)}
    judgement = judge(claim, results, measure(compared, timed=any(one.cost == "seconds" for one in costly)))
    verdict = Verdict(
        *judgement,
        date=datetime.date.today().isoformat(),
        seconds=round(float(results.json["seconds"]), 1),
        device=results.json["device"],
        versions=results.json["versions"],
        claim=claim.fingerprint,
        code=code,
        shipped_data=data_fingerprint(),
        data=results.json["data"]["fingerprint"],
    )
    write_verdict(verdict_file(root / FOLDER, claim.name), verdict)
    return verdict


def run_claims(
    claims: Sequence[Claim], root: Path, minutes: float, tell: Callable[[str], Any], again: bool = False
) -> int:
    """Runs those claims without a verdict that still holds, the cheapest first. Returns the number that failed.

    minutes: claims that take longer by their own statement are left out. tell: called with lines of progress. again: claims
    whose verdict holds are judged again.
    """
    chosen = [one for one in claims if one.minutes <= minutes and (again or (one.command and not _holds(one, root)))]
    chosen.sort(key=lambda claim: (claim.minutes, claim.command))  # equal commands share a run
    left, failed, finished = len(claims) - len(chosen), 0, set()
    tell(f"{len(chosen)} claims to run; {left} are left out: they have a verdict, take too long or lack data")
    for number, claim in enumerate(chosen, 1):
        tell(f"[{number}/{len(chosen)}] {claim.name}: {claim.claim} (about {claim.minutes:g} CPU minutes)")
        try:
            check_claim(claim, root)
            out = run_folder(claim, root) if claim.command else root  # of the code before the run
            verdict = run_claim(claim, root, finished)
        except ClaimError as error:
            failed += 1
            tell(f"error: {error}")
            continue
        finished.add(out)
        for ruling in verdict.rulings:
            tell(f"    {ruling.verdict}: {ruling.compared} {ruling.found}")
        tell(f"    {verdict.verdict.upper()}")
    return failed


def _holds(claim: Claim, root: Path) -> bool:
    """Whether the claim has a verdict and nothing has changed since."""
    verdict = read_verdict(verdict_file(root / FOLDER, claim.name))
    return verdict is not None and not stale(claim, verdict, root / claim.words[0])
