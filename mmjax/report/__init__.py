"""Run folders -> tables, plots and one self-contained HTML page. Nothing depends on the clock, the host or the network.

- `tables.print_results`: the tables and conclusions of a run in the terminal.
- `page.write_report`: the page (`python -m mmjax.report RUN ... --out report.html`).

Both read results through `mmjax.runs.read` and treat all tasks alike. Only the page needs the `report` extra (matplotlib and
jinja2).
"""
