"""Finished runs in Python: tables, comparisons and trained cells.

    results = mmjax.load_run("runs/stamps_fusion")
    results.table()                                    one dict for each cell and baseline
    results.to_pandas(), .to_csv(), .to_latex(), .plot()
    results.compare("concat", "text", "accuracy")      paired difference with its interval and verdict
    results["concat"].predict({"image": ["a.png"], "text": ["a red car"]})
"""

from mmjax.results.cell import Cell, load_cell
from mmjax.results.run import Results, load_run

__all__ = ["Cell", "Results", "load_cell", "load_run"]
