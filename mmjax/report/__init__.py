"""Run folders -> tables, plots and one self-contained HTML page, and nothing else: no clock, no host, no network.

- `runs.read_run`: a checked run folder.
- `tables.results_table`, `tables.verdict_sentences`: for the terminal.
- `page.write_report`: the page (`python -m mmjax.report RUN ... --out report.html`).

Only the page needs the `report` extra (matplotlib and jinja2); the terminal's table does not.
"""
