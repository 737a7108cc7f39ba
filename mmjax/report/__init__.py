"""Run folders -> tables, plots and one self-contained HTML page. Nothing depends on the clock, the host or the network.

- `tables.print_results`: the tables and conclusions of a run in the terminal.
- `page.write_report`: the page (`python -m mmjax.report RUN ... --out report.html`): one panel per task with its table, plots
  and examples; several runs are compared in joint tables, by paired differences if their test sets are equal.

Both read results through `mmjax.runs` and treat all tasks alike. Only the page needs the `report` extra (matplotlib and
jinja2).
"""

__all__ = [
    "audits", "curves", "differences", "examples", "joint", "maps", "numbers", "page", "pairs", "panels", "phrases", "plots",
    "rows", "sections", "sentences", "settings", "svg", "tables",
]
