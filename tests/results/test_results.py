"""Tables, comparisons and figures of a finished run."""

import csv
import io
from dataclasses import replace

import pandas
import pytest

import mmjax
from mmjax.encoders import BagOfEmbeddings
from mmjax.experiment import ExperimentError
from mmjax.runs.schema import RunError
from tests.results.pets import EXPERIMENT


def test_the_table_has_the_numbers_of_results_json(results):
    assert list(results) == ["all", "text"] and len(results) == 2 and results.tasks == ["kind", "age", "tags"]
    rows = {row["cell"]: row for row in results.table("age")}
    assert list(rows) == ["all", "text", "mean", "median"]
    entry = results.json["cells"]["text"]["tasks"]["age"]
    score, row = entry["subsets"][entry["complete"]]["mae"], rows["text"]
    assert (row["mae"], row["mae_low"], row["mae_high"]) == (score["mean"], score["low"], score["high"])
    assert rows["all"]["kind"] == "multimodal" and rows["text"]["kind"] == "single" and rows["mean"]["kind"] == "baseline"


def test_csv_and_latex(results, tmp_path):
    text = results.to_csv(tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == text
    read = list(csv.DictReader(io.StringIO(text)))
    assert [row["cell"] for row in read] == [row["cell"] for row in results.table()]
    assert float(read[0]["accuracy"]) == pytest.approx(results.table()[0]["accuracy"])
    with pytest.raises(RunError, match="metrics is 0; it must be at least 1"):
        results.to_latex(metrics=0)
    latex = results.to_latex(tmp_path / "table.tex")
    assert latex.startswith("\\begin{tabular}{llrr}\n\\toprule\ncell & accuracy & f1\\_macro & ece \\\\\n")
    best = results.json["tasks"]["kind"]["best_cell"]
    assert f"\\textbf{{{best}}} & " in latex and latex.count(" \\\\\n") == 1 + len(results.table())


def test_pandas(results):
    frame = results.to_pandas("tags")
    assert isinstance(frame, pandas.DataFrame)
    assert frame.set_index("cell").loc["all", "f1_micro"] == results.table("tags")[0]["f1_micro"]


def test_plot(results, tmp_path):
    figure = results.plot(tmp_path / "figure.png", "age", "rmse")
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [row["cell"] for row in results.table("age")][::-1]
    assert axes.get_xlabel().startswith("rmse") and (tmp_path / "figure.png").stat().st_size > 1000


def test_a_comparison_is_the_verdict_of_the_run(results):
    for rival in ("text", "majority"):
        verdicts = results.json["cells"]["all"]["tasks"]["kind"]["verdicts"]
        (expected,) = [v["difference"] for v in verdicts if v["against"] == rival and v["metric"] == "f1_macro"]
        found = results.compare("all", rival, "f1_macro")
        assert found.to_json() == pytest.approx(expected, nan_ok=True)
    opposite = results.compare("text", "all")
    assert opposite.mean == pytest.approx(-results.compare("all", "text").mean)


def test_a_comparison_with_some_modalities(results):
    """The means are those of the subset in results.json, and a cell compared with itself is identical."""
    subsets = results.json["cells"]["all"]["tasks"]["kind"]["subsets"]
    mean = lambda cell, subset: results.json["cells"][cell]["tasks"]["kind"]["subsets"][subset]["accuracy"]["mean"]
    found = results.compare("all", "text", "accuracy", subset="text")
    assert len(subsets) > 1 and found.mean == pytest.approx(mean("all", "text") - mean("text", "text"))
    assert results.compare("all", "all", "accuracy", subset="text").verdict == "identical"
    with pytest.raises(KeyError, match="cell 'text' has no scores of the subset 'image'; its subsets are text"):
        results.compare("all", "text", "accuracy", subset="image")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r["gone"], "there is no cell 'gone' in .*; the cells are all, text"),
        (lambda r: r.table("gone"), "there is no task 'gone'; the tasks are kind, age, tags"),
        (lambda r: r.compare("all", "gone"), "'gone' is no cell or baseline of task 'kind'; they are all, text, majority"),
        (lambda r: r.compare("all", "text", "mae"), "task 'kind' has no metric 'mae'; its metrics are accuracy, f1_macro"),
    ],
)
def test_wrong_names_are_listed(results, call, message):
    with pytest.raises(KeyError, match=message):
        call(results)


def test_run_raises_what_the_command_line_prints(results, tmp_path):
    with pytest.raises(ExperimentError, match="there is no option sedes; the options are seeds, seeds_at_once"):
        mmjax.run({"all": EXPERIMENT}, sedes=3, out=tmp_path)
    with pytest.raises(ExperimentError, match="--seeds is 0"):
        mmjax.run({"all": EXPERIMENT}, seeds=0, out=tmp_path)
    with pytest.raises(ExperimentError, match=r"cells must be \{name: Experiment\}, with at least one cell"):
        mmjax.run({}, out=tmp_path)
    with pytest.raises(ExperimentError, match="there is no option costs; the options are"):
        mmjax.run({"all": EXPERIMENT}, out=tmp_path, costs=True)
    with pytest.raises(RunError, match="is not empty"):
        mmjax.run({"all": EXPERIMENT}, out=results.run.folder, quiet=True)
    with pytest.raises(RunError, match=r"results\.json"):
        mmjax.load_run(tmp_path)


def test_run_takes_the_dtype_and_says_what_cannot_be_loaded(tmp_path, capsys):
    class Local(BagOfEmbeddings):
        """A module that no other process can import."""

    cell = replace(EXPERIMENT, encoders={"text": Local(20, embedding=4)}, steps=1, evaluate_every=1)
    results = mmjax.run({"text": cell}, seeds=1, out=tmp_path / "run", dtype="bfloat16")
    output = " ".join(capsys.readouterr().out.split())
    assert "cell text will be trained and scored, but its models cannot be loaded later:" in output
    assert results.json["cells"]["text"]["experiment"]["encoders"]["text"]["dtype"] == {"dtype": "bfloat16"}
    assert "dtype='bfloat16'" in results.json["command"]
    with pytest.raises(RunError, match=r"<locals>\.Local cannot be rebuilt"):
        results["text"].predict({"text": ["a"]})


def test_the_package_is_lazy():
    assert set(dir(mmjax)) >= {"__version__", "run", "load_run", "load_weights", "encoders"}
    assert mmjax.load_weights is mmjax.pretrained.load_encoder
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mmjax.nothing  # noqa: B018
