"""The script that measures how time and memory grow."""

import pytest
import scaling


def test_slopes_of_known_powers():
    sizes = (1, 2, 4, 8)
    assert scaling.slope(sizes, [5 * n**2 for n in sizes]) == pytest.approx(2)
    assert scaling.transformer_work(3, 2) == 3 * 12 * 4 + 2 * 9 * 2


def test_the_table_has_a_line_for_an_axis(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["scaling.py", "gallery", "--quick", "--plot", str(tmp_path / "plot.svg")])
    monkeypatch.setattr(scaling, "SECONDS", 0)
    scaling.main()
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith("│ gallery"))
    assert "8,192 to 16,384" in line and " 8.42 to 16.8 " in line  # 256 float32 numbers, a scale and a few more for each vector
    assert "gallery" in line and "<svg" in (tmp_path / "plot.svg").read_text()


def test_an_unknown_axis_is_named(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["scaling.py", "planets"])
    with pytest.raises(SystemExit):
        scaling.main()
    assert "unknown axis planets; the axes are seeds, batch" in capsys.readouterr().err


def test_a_plot_that_cannot_be_written_is_refused_before_measuring(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(scaling, "measure", lambda axis: pytest.fail("it measured"))
    (tmp_path / "folder.svg").mkdir()
    missing = "cannot be written; name a file in an existing folder"
    for name, message in {"plot.txt": "must end with .svg or .png", "none/plot.svg": missing, "folder.svg": missing}.items():
        monkeypatch.setattr("sys.argv", ["scaling.py", "gallery", "--plot", str(tmp_path / name)])
        with pytest.raises(SystemExit):
            scaling.main()
        assert message in capsys.readouterr().err.splitlines()[-1]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["scaling.py", "gallery", "--plot", str(tmp_path / "plot.png")])
    with pytest.raises(SystemExit):
        scaling.main()
    assert "--plot needs matplotlib: pip install 'mmjax[report]'" in capsys.readouterr().err.splitlines()[-1]
