"""The table of a run: one line for each side that mmjax is compared with."""

import statistics
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from mmjax.experiment.chips import CHIPS

CHIP, CHIP_BANDWIDTH = "H100 SXM", 3.35e12  # bytes per second, from its data sheet; products of float32 are TF32 on it
PEAK = {"float32": CHIPS[CHIP].tflops * 1e12 / 2, "bfloat16": CHIPS[CHIP].tflops * 1e12}  # FLOPs per second

HEAD = {
    "case": "row and case",
    "against": "against",
    "cpu": "CPU time ratio",
    "wall": "wall time ratio",
    "goal": "goal",
    "ours": "mmjax, ms wall / CPU",
    "theirs": "other, ms wall / CPU",
    "speed": "GFLOP/s, mmjax / other",
    "share": "of a GEMM, mmjax / other",
    "bandwidth": "of the memory bandwidth, mmjax / other",
    "chip": f"{CHIP} at best, ms (estimate)",
    "memory": "MB, mmjax / other",
    "first": "first run s, mmjax / other",
    "rounds": "rounds",
    "parameters": "parameters",
    "difference": "largest difference",
}


def _median(side: Mapping[str, Any], name: str) -> float:
    return statistics.median(one[name] for one in side["rounds"])


def _ratio(ours: Mapping[str, Any], theirs: Mapping[str, Any], name: str) -> list[float]:
    return [other[name] / max(mine[name], 1e-9) for mine, other in zip(ours["rounds"], theirs["rounds"])]


def chip_bound(flops: float, size: float, dtype: str) -> float:
    """Seconds that the named chip needs at least: its FLOPs at the peak, or each byte read once (a roofline, an estimate).

    size: bytes that the work reads at least.
    """
    return max(flops / PEAK[dtype], size / CHIP_BANDWIDTH)


def lines(entry: Mapping[str, Any], gemm: Mapping[str, float], bandwidth: float = 0.0) -> list[dict[str, str]]:
    """The lines of a case; if it could not be compared, one line with the reason. bandwidth: bytes per second, 0 if unknown."""
    name = f"{entry['row']} {entry['case']}"
    if "error" in entry or not entry["sides"]:
        return [{"case": name, "against": f"not compared: {entry.get('error', entry['note']).splitlines()[0]}"}]
    (_, ours), *others = entry["sides"].items()
    found = []
    for side, theirs in others:
        ratios = {kind: _ratio(ours, theirs, kind) for kind in ("cpu", "wall")}
        line = {"case": name, "against": side}
        for kind, values in ratios.items():
            line[kind] = f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"
        if side in entry["goals"]:
            line["goal"] = f">= {entry['goals'][side]:g}"
        for key, one in (("ours", ours), ("theirs", theirs)):
            line[key] = f"{_number(1e3 * _median(one, 'wall'))} / {_number(1e3 * _median(one, 'cpu'))}"
        flops = max(one["flops"] for one in entry["sides"].values())
        if flops:
            speeds = [flops / _median(one, "wall") for one in (ours, theirs)]
            line["speed"] = " / ".join(_number(speed / 1e9) for speed in speeds)
            if entry["dtype"] in gemm:
                line["share"] = " / ".join(f"{speed / gemm[entry['dtype']]:.0%}" for speed in speeds)
        if ours.get("bytes") and bandwidth:
            line["bandwidth"] = " / ".join(f"{one['bytes'] / _median(one, 'wall') / bandwidth:.0%}" for one in (ours, theirs))
        if flops and entry["dtype"] in PEAK:
            size = ours.get("bytes") or ours["parameters"] * (2 if entry["dtype"] == "bfloat16" else 4)
            line["chip"] = _number(1e3 * chip_bound(flops, size, entry["dtype"]))
        line["memory"] = " / ".join(_number(one["rounds"][-1]["memory"] / 1e6) for one in (ours, theirs))
        line["first"] = f"{ours['first']:.1f} / {theirs['first']:.1f}"
        line["rounds"] = str(len(theirs["rounds"]))
        if ours["parameters"]:
            line["parameters"] = f"{ours['parameters']:,}"
        line["difference"] = f"{theirs['difference']:.1g}"
        found.append(line)
    return found


def growth(record: Mapping[str, Any]) -> list[str]:
    """One sentence for each case with a smaller one: the ratios of each side's time, and of the FLOPs."""
    kind = {"cpu": "cpu", "gpu": "wall"}[record["machine"]["device"]]
    sides, found = {(entry["row"], entry["case"]): entry["sides"] for entry in record["cases"]}, []
    for entry in record["cases"]:
        small, large = sides.get((entry["row"], entry["grown_from"])), entry["sides"]
        if small and large:
            times = ", ".join(f"{_median(large[side], kind) / _median(small[side], kind):.3g} in {side}" for side in large)
            flops = [max(side["flops"] for side in case.values()) for case in (small, large)]
            name = f"{entry['row']} {entry['case']} / {entry['grown_from']}"
            found.append(f"{name}: {HEAD[kind].removesuffix(' ratio')} {times}; FLOPs {flops[1] / max(flops[0], 1):.3g}")
    return found


def _number(value: float) -> str:
    """Three significant digits, or all digits of an integer part above 100."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def show(console: Console, table: list[dict[str, str]]) -> None:
    """Prints each line as a paragraph, as soon as its case is finished."""
    for line in table:
        rest = "; ".join(f"{HEAD[key]} {value}" for key, value in line.items() if key not in ("case", "against", "goal"))
        goal = f" (goal {line['goal']})" if "goal" in line else ""
        console.print(f"[bold]{line['case']}[/] against {line['against']}{goal}: {rest}", highlight=False)


def markdown(record: Mapping[str, Any]) -> str:
    """The table as Markdown, with the machine above it and the notes below."""
    rows = [line for entry in record["cases"] for line in lines(entry, record["gemm"], record["bandwidth"])]
    machine = ", ".join(f"{name} {value}" for name, value in record["machine"].items())
    text = [f"{machine}; at most {record['rounds']} rounds of at least {record['seconds']:g} s a side.", ""]
    text += [f"| {' | '.join(HEAD.values())} |", f"|{'---|' * len(HEAD)}"]
    text += [f"| {' | '.join(line.get(key, '') for key in HEAD)} |" for line in rows]
    noted = [entry for entry in record["cases"] if entry["note"] and entry["sides"]]
    notes = [f"- {entry['row']} {entry['case']}: {entry['note']}" for entry in noted]
    grown = [f"- {sentence}" for sentence in growth(record)]
    return "\n".join([*text, "", *notes, *grown, ""])
