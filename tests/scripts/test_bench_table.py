"""The benchmark: its table from hand-made rounds, the number of runs, and its errors."""

import re
import sys

import bench
import numpy as np
import pytest
from benchmarks import ROWS, driver
from benchmarks.case import Workload
from benchmarks.driver import SideError, _difference
from benchmarks.table import HEAD, chip_bound, growth, lines, markdown
from benchmarks.worker import first_runs


def side(wall: list[float], cpu: list[float], memory: float, **more: float) -> dict:
    rounds = [{"wall": w, "cpu": c, "memory": memory} for w, c in zip(wall, cpu)]
    return {"parameters": 0, "flops": 0.0, "first": 1.0, "difference": 0.0, **more, "rounds": rounds}


def entry(**more) -> dict:
    sides = {
        "mmjax": side([0.1, 0.2, 0.1], [0.2, 0.2, 0.4], 5e6, parameters=12345, first=0.25),
        "torch": side([0.2, 0.2, 0.3], [0.2, 0.6, 0.4], 1234e6, parameters=12345, flops=3e9, difference=3e-4),
        "slow": side([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], 1.5e6, first=2.0),
    }
    fields = {"row": "dual", "case": "batch 64", "dtype": "float32", "goals": {"torch": 1.5}, "note": "", "grown_from": ""}
    return {**fields, "sides": sides, **more}


def test_a_line_for_each_other_side():
    given = entry()
    given["sides"]["mmjax"]["bytes"], given["sides"]["torch"]["bytes"], given["sides"]["slow"]["bytes"] = 2e9, 4e9, 0.0
    torch, slow = lines(given, {"float32": 60e9, "bfloat16": 1e9}, 40e9)
    assert torch == {
        "case": "dual batch 64",
        "against": "torch",
        "cpu": "1.00 [1.00, 3.00]",  # of 1, 3, 1
        "wall": "2.00 [1.00, 3.00]",  # of 2, 1, 3
        "goal": ">= 1.5",
        "ours": "100 / 200",
        "theirs": "200 / 400",
        "speed": "30 / 15",  # 3e9 in 0.1 s and in 0.2 s
        "share": "50% / 25%",
        "bandwidth": "50% / 50%",  # 2e9 bytes in 0.1 s and 4e9 in 0.2 s
        "chip": "0.597",  # 2e9 bytes at 3.35e12 per second; 3e9 products take less
        "memory": "5 / 1,234",
        "first": "0.2 / 1.0",
        "rounds": "3",
        "parameters": "12,345",
        "difference": "0.0003",
    }
    assert (slow["against"], slow["cpu"], slow["wall"]) == ("slow", "10.00 [5.00, 10.00]", "10.00 [5.00, 10.00]")
    assert (slow["speed"], slow["share"], slow["memory"], slow["first"]) == ("30 / 3", "50% / 5%", "5 / 1.5", "0.2 / 2.0")
    assert "goal" not in slow
    assert set(torch) == set(HEAD)


def test_unknown_values_are_omitted():
    sides = {"mmjax": side([0.0123], [0.01], 1e6), "torch": side([0.0246], [0.01], 1e6)}
    (line,) = lines(entry(sides=sides, goals={}), {"float32": 1e9})
    assert line["ours"] == "12.3 / 10"
    assert not {"speed", "share", "parameters", "goal", "chip"} & set(line)
    (line,) = lines(entry(), {"bfloat16": 1e9})[:1]
    assert "speed" in line and "share" not in line  # no GEMM of this dtype


def test_the_bound_of_a_chip_is_of_products_or_of_memory():
    """A data sheet's 989e12 products of bfloat16 per second, half of them as TF32, and 3.35e12 bytes per second."""
    assert chip_bound(989e12, 3.35e12, "bfloat16") == pytest.approx(1)
    assert chip_bound(989e12, 3.35e12, "float32") == pytest.approx(2)
    assert chip_bound(989e12, 3 * 3.35e12, "float32") == pytest.approx(3)


def test_a_case_without_a_comparison_has_its_reason():
    table = lambda **more: lines(entry(**more), {})
    assert table(sides={}, note="needs an accelerator") == [
        {"case": "dual batch 64", "against": "not compared: needs an accelerator"}
    ]
    assert table(error="torch ended with 1:\nTraceback") == [
        {"case": "dual batch 64", "against": "not compared: torch ended with 1:"}
    ]


def test_markdown():
    cases = [entry(note="a note"), entry(row="clip-b16", sides={}, note="needs an accelerator")]
    text = markdown(
        {"machine": {"device": "cpu", "cores": 2}, "rounds": 3, "seconds": 0.5, "bandwidth": 0.0, "gemm": {"float32": 60e9},
         "cases": cases}
    )
    machine, _, head, rule, torch, slow, absent, _, *notes = text.split("\n")
    assert machine == "device cpu, cores 2; at most 3 rounds of at least 0.5 s a side."
    assert head.split(" | ")[2] == "CPU time ratio"
    assert {line.count("|") for line in (head, rule, torch, slow, absent)} == {len(HEAD) + 1}
    assert torch.startswith("| dual batch 64 | torch | 1.00 [1.00, 3.00] | 2.00 [1.00, 3.00] | >= 1.5 | 100 / 200 |")
    assert absent.startswith("| clip-b16 batch 64 | not compared: needs an accelerator |  |")
    assert notes == ["- dual batch 64: a note", ""]


def test_growth_of_a_case():
    larger = {
        "mmjax": side([0.1] * 3, [0.6, 0.5, 0.5], 5e6),  # CPU 0.5 and 0.2
        "torch": side([0.1] * 3, [0.6, 0.5, 0.7], 5e6, flops=12e9),  # 0.6 and 0.4; FLOPs 12e9 and 3e9
    }
    grown = entry(case="batch 256", grown_from="batch 64", sides=larger)
    sentences = lambda *cases: growth({"machine": {"device": "cpu"}, "cases": cases})
    assert sentences(entry(), grown) == ["dual batch 256 / batch 64: CPU time 2.5 in mmjax, 1.5 in torch; FLOPs 4"]
    failed = entry(sides={}, error="torch ended")
    assert sentences(failed, grown) == sentences(entry(), grown | {"sides": {}}) == sentences(grown) == []


def test_an_unknown_row(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.py", "dual", "duel"])
    with pytest.raises(SystemExit) as error:
        bench.main()
    assert error.value.code == 2
    message = " ".join(capsys.readouterr().err.split())
    assert f"unknown row duel; the rows are {', '.join(ROWS)}" in message


class Clocked:
    """A side whose runs advance a fake clock by a fixed number of seconds."""

    def __init__(self, name: str, takes: float, clock: list[float]):
        self.name, self.takes, self.clock, self.requests = name, takes, clock, []

    def run(self, runs: int) -> dict[str, float]:
        self.requests.append(runs)
        self.clock[0] += runs * self.takes
        return {"wall": self.takes}


@pytest.mark.parametrize(
    ("takes", "seconds", "rounds", "requests"),
    [
        ((0.125, 1.0), 0.0, 7, ([1] * 7, [1] * 7)),  # no minimum time: one run per round, without a warm-up
        ((0.125, 0.25), 0.5, 7, ([1, 1, *[4] * 7], [1, 1, *[2] * 7])),  # two warm-up runs, for the number of runs in 0.5 s
        ((0.5, 1.0), 0.5, 6, ([1] * 7, [1] * 7)),  # one warm-up run; 9 s have passed after five rounds, 10.5 after six
        ((10.0, 2.0), 0.5, 3, ([1] * 4, [1] * 4)),  # at least three
        ((10.0, 20.0), 0.5, 3, ([1] * 3, [1] * 3)),  # no warm-up if both sides are slow
    ],
)
def test_slow_cases_have_fewer_rounds(monkeypatch, takes, seconds, rounds, requests):
    clock = [0.0]
    monkeypatch.setattr(driver.time, "perf_counter", lambda: clock[0])
    sides = [Clocked(name, one, clock) for name, one in zip(("mmjax", "torch"), takes)]
    assert len(list(driver.turns(sides, 7, seconds))) == rounds
    assert tuple(side.requests for side in sides) == requests


def test_each_round_starts_with_another_side():
    class Named:
        def __init__(self, name):
            self.name = name

        def run(self, runs):
            order.append(self.name)
            return {"wall": 1.0}

    for names, expected in (("ab", "ab ba ab"), ("abc", "abc bca cab abc")):
        order = []
        rounds = expected.split()
        assert [list(turn) for turn in driver.turns([Named(name) for name in names], len(rounds), 0.0)] == [*map(list, rounds)]
        assert order == [*expected.replace(" ", "")]


def test_the_largest_difference_of_all_outputs(tmp_path):
    mine = {"a": np.array([-4.0, 1.0]), "b": np.array([[100.0]]), "none": np.zeros(0)}
    np.savez(tmp_path / "mmjax.npz", **mine)
    np.savez(tmp_path / "torch.npz", **mine | {"a": np.array([-4.0, 1.5]), "b": np.array([[101.0]])})
    assert _difference(tmp_path, "mmjax", "torch", 0.125) == 0.125  # 0.5 of 4; of b 0.01
    assert _difference(tmp_path, "mmjax", "mmjax", 0.0) == 0.0


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ({"x": np.array([1.0, 2.2])}, "x of torch differs from that of mmjax by 0.1 of its largest value"),
        ({"x": np.array([1.0, np.nan])}, "x of torch differs from that of mmjax by nan"),
        ({"x": np.array([[1.0, 2.0]])}, "x has the shape (1, 2) in torch and (2,) in mmjax"),
        ({"y": np.array([1.0, 2.0])}, "the outputs of torch are ['y'], those of mmjax ['x']"),
    ],
)
def test_sides_with_different_outputs(tmp_path, theirs, message):
    np.savez(tmp_path / "mmjax.npz", x=np.array([1.0, 2.0]))
    np.savez(tmp_path / "torch.npz", **theirs)
    with pytest.raises(SideError, match=re.escape(message)):
        _difference(tmp_path, "mmjax", "torch", 0.05)


def test_token_ids_must_be_equal(tmp_path):
    for name, last in (("mmjax", 1000), ("torch", 1001)):
        np.savez(tmp_path / f"{name}.npz", ids=np.array([7, last]))
    with pytest.raises(SideError, match="1 of the 2 integers ids of torch differ from those of mmjax"):
        _difference(tmp_path, "mmjax", "torch", 0.05)


@pytest.mark.parametrize(("repeats", "calls"), [(1, 3), (2, 2), (4, 1)])
def test_the_first_losses_are_collected_over_calls(repeats, calls):
    """Three losses are compared, whatever the number of steps per call."""
    losses = iter(np.arange(12.0).reshape(-1, repeats))
    work = Workload(lambda: next(losses), {}, compared_losses=3, repeats=repeats)
    np.testing.assert_array_equal(first_runs(work)[1]["first losses"], [0, 1, 2])
    assert len(list(losses)) == 12 // repeats - calls
