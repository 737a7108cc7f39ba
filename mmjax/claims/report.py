"""docs/claims.md: a page of all claims and their verdicts."""

from collections import Counter
from collections.abc import Mapping, Sequence

from mmjax.claims.claim import Claim
from mmjax.claims.judge import RULINGS
from mmjax.claims.verdict import Verdict

__all__ = ["HEAD", "NOT_RUN", "page"]

NOT_RUN = "not run"
HEAD = """# Claims and what was found

Claims of papers, and of the documents that this project started from, each tested by one command:

```bash
python -m mmjax.claims run NAME        # runs the command, judges the claim, stores the verdict in claims/results
python -m mmjax.claims run             # all claims without a verdict that holds, the cheapest first
python -m mmjax.claims check           # are all files valid?
python -m mmjax.claims report          # writes this page
```

A claim is a file in claims/, with its source, its command, the cells that are compared, and what would contradict it
(mmjax/claims/claim.py shows one; to add a claim, write such a file and run the commands above with its name). It is
*reproduced* if the 95 % intervals of all its comparisons lie where it says, *contradicted* if one lies outside (corrected for
their number), and *inconclusive* otherwise. Ratios of costs are measured once and have no interval. "Detectable" is the
difference that would have been found with 80 % power. A verdict is about the data and models named here, with the departures
listed: most data are smaller than those of the papers, so a claim that is inconclusive or contradicted here may hold on theirs,
and one that is reproduced here need not be reproduced there. A verdict is *stale* if the claim, the code that its experiment
uses, the shipped data or the pinned versions have changed since; the code that judges claims and counts costs, and data in a
folder that you name, are not compared. *Not run* means that the command has not run, while other cells or fewer seeds of its
experiment may have. What each experiment found is in [experiments](experiments.md), and the
[statistics](statistics.md) have a page of their own. Claims of papers are in our words.
Their tables, sections and numbers were cited without access to most of the papers: check them before you quote them.
"""


def page(claims: Sequence[Claim], verdicts: Mapping[str, Verdict], changed: Mapping[str, Sequence[str]]) -> str:
    """The page in Markdown, a pure function of its arguments.

    verdicts: {name of a claim: its verdict}; claims without one are not run. changed: {name: what has changed since}.
    """
    counts = Counter(_status(claim, verdicts) for claim in claims)
    old = sum(bool(changed.get(claim.name)) for claim in claims)
    total = ", ".join(f"{counts[status]} {status}" for status in (*RULINGS, NOT_RUN))
    table = ["| claim | source | verdict |", "|---|---|---|"]
    order = sorted(claims, key=lambda claim: ((*RULINGS, NOT_RUN).index(_status(claim, verdicts)), claim.name))
    for claim in order:
        mark = " (stale)" if changed.get(claim.name) else ""
        cells = f"[{_cell(claim.claim)}](#{_anchor(claim.name)})", _cell(claim.source), _status(claim, verdicts) + mark
        table.append(f"| {' | '.join(cells)} |")
    sections = [_section(claim, verdicts.get(claim.name), changed.get(claim.name, ())) for claim in order]
    return "\n".join([HEAD, f"**{len(claims)} claims: {total}; {old} stale.**", "", *table, "", *sections])


def _status(claim: Claim, verdicts: Mapping[str, Verdict]) -> str:
    return verdicts[claim.name].verdict if claim.name in verdicts else NOT_RUN


def _section(claim: Claim, verdict: Verdict | None, changed: Sequence[str]) -> str:
    """The details of one claim."""
    lines = [f"## {claim.name}", "", claim.claim, "", f"- Source: {claim.source}", f"- Data: {claim.data}"]
    lines += [f"- Expected: {expectation}" for expectation in claim.expectations]
    lines += [f"- Contradicted by: {claim.contradicted_by}"]
    lines += [f"- Needs: {claim.needs}"] if claim.needs else []
    lines += [f"- Departures: {claim.note}"] if claim.note else []
    if claim.command:
        lines.append(f"- Command ({claim.minutes:g} CPU minutes): `{claim.command}`")
    if verdict is None:
        lines.append(f"- **{NOT_RUN}**")
    else:
        since = f", stale: {' and '.join(changed)} changed since" if changed else ""
        made = f"{verdict.date}, jax {verdict.versions.get('jax', '?')}, {verdict.device}"
        lines.append(f"- **{verdict.verdict}**{since} ({made})")
        for ruling in verdict.rulings:
            open_case = ruling.verdict == "inconclusive" and ruling.detectable is not None
            power = f", detectable {ruling.detectable:.3f}" if open_case else ""
            lines.append(f"    - {ruling.compared}: {ruling.found}, {ruling.verdict}{power}")
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    """Text in a cell of a table."""
    return text.replace("|", r"\|")


def _anchor(name: str) -> str:
    """The anchor of a section, as MkDocs makes it."""
    return name.lower()
