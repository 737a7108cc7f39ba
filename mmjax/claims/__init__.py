"""Published claims about multimodal models, which one command runs and judges: `python -m mmjax.claims run NAME`.

    claims/NAME.toml            the claim, its source, the command of an experiment, and what the result should be
    claims/results/NAME.json    the verdict with the numbers, the date, the versions and the fingerprints of code and data
    docs/claims.md              all of them as a page, which `python -m mmjax.claims report` writes

A claim is reproduced, contradicted or inconclusive; an inconclusive one states the difference that could have been detected.
"""

from mmjax.claims.claim import Better, Cheaper, Claim, ClaimError, Equal, Near, read_claim, read_claims
from mmjax.claims.judge import Judgement, Ruling, judge
from mmjax.claims.report import page
from mmjax.claims.run import run_claim
from mmjax.claims.verdict import Verdict, read_verdict, stale

__all__ = [
    "Better",
    "Cheaper",
    "Claim",
    "ClaimError",
    "Equal",
    "Judgement",
    "Near",
    "Ruling",
    "Verdict",
    "judge",
    "page",
    "read_claim",
    "read_claims",
    "read_verdict",
    "run_claim",
    "stale",
]
