"""The operations of one side of one case, in a process of its own that is bound to one core:
python -m benchmarks.operations ROW CASE SIDE FOLDER STEPS [--quick]

It reads the weights from the folder (the first side writes them there) and writes SIDE.json: the seconds of one repetition by
the clock, and by operation. Of an operation that calls others, their time is not counted again.
"""

import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

KINDS = {
    "convolutions": r"conv_general_dilated|aten::(mkldnn_|thnn_)?_?convolution",
    "recurrent layers": r"aten::\w*(lstm|rnn)\w*|/while/|\bwhile\b",
    "matrix products": r"^dot\b|dot_general|aten::(addmm|mm|bmm|baddbmm|linear|matmul)\b",
    "optimiser, norms of the step": r"aten::_fused_adamw|aten::_foreach|Optimizer|jit\(\w+\)/vmap\(\)/",
    "attention, in mmjax without its products": r"scaled_dot_product|softmax|/attention/",
    "norms of layers": r"layer_norm|batch_norm|[Nn]orm\w*/",
    "pooling": r"max_pool|reduce_window|/pool|select_and_scatter",
    "embeddings": r"aten::(embedding|index)|gather|scatter",
    "activations": r"gelu|relu|erf|sigmoid|tanh|threshold",
    "copies and transpositions": r"aten::(copy_|clone|contiguous|transpose|fill_|zero_|zeros)|^\w*(copy|transpose|broadcast)",
    "the rest": "",
}
"""{kind: a pattern in the name of an operation}; the first that fits."""


def kind_of(operation: str) -> str:
    """The first of `KINDS` whose pattern is in the operation's name."""
    return next(kind for kind, pattern in KINDS.items() if re.search(pattern, operation))


def self_seconds(events: Iterable[tuple[str, float, float]]) -> Counter[str]:
    """{name: seconds without those of the events inside}, of the (name, start, duration) in ns of one thread."""
    spent, open_events = Counter(), []
    for name, start, duration in sorted(events, key=lambda event: (event[1], -event[2])):
        while open_events and start >= open_events[-1][1]:
            open_events.pop()
        if open_events:
            spent[open_events[-1][0]] -= duration * 1e-9
        open_events.append((name, start + duration))
        spent[name] += duration * 1e-9
    return spent


def of_jax(run: Callable[[], object], steps: int, dump: Path) -> Counter[str]:
    """The seconds of each operation of XLA's programs, by the operation of JAX from which it comes.

    dump: the folder into which XLA writes its programs.
    """
    import jax

    folder = dump / "trace"
    with jax.profiler.trace(folder):
        for _ in range(steps):
            run()
    (file,) = folder.rglob("*.xplane.pb")
    origin, spent = origins(dump), Counter()
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        for line in plane.lines:
            events = []
            for event in line.events:
                stats = dict(event.stats)
                if "hlo_op" in stats:
                    name = str(stats["hlo_op"])
                    found = origin.get((str(stats.get("hlo_module", "")), name), "")
                    events.append((f"{re.sub(r'[.]?[0-9]+$', '', name)} {found}".strip(), event.start_ns, event.duration_ns))
            spent.update(self_seconds(events))
    return spent


def origins(dump: Path) -> dict[tuple[str, str], str]:
    """{(module, operation of XLA): the operation of JAX} of the optimised programs in a folder."""
    found = {}
    for file in dump.glob("*after_optimizations.txt"):
        text = file.read_text()
        module = re.match(r"HloModule (\S+?),", text)[1]
        bodies = dict(re.findall(r"^%(\S+) \(.*?\{\n(.*?)^\}", text, re.M | re.S))
        for name, rest in re.findall(r"^\s*(?:ROOT )?%?(\S+) = (.*)$", text, re.M):
            path, calls = re.search(r'op_name="([^"]*)"', rest), re.search(r"calls=%(\S+?)[,\s]", rest)
            if path:
                found[module, name] = path[1]
            elif calls and " dot(" in bodies.get(calls[1], ""):
                found[module, name] = "dot_general"  # XLA dropped its name
    return found


def of_torch(run: Callable[[], object], steps: int) -> Counter[str]:
    """The seconds of each operator without those that it calls."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for _ in range(steps):
            run()
    return Counter({event.key: event.self_cpu_time_total * 1e-6 for event in recorded.key_averages()})


def main() -> None:
    row, name, side, folder, steps, *quick = sys.argv[1:]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    folder, steps = Path(folder), int(steps)
    dump = folder / side
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={dump} --xla_dump_hlo_as_text"
    from benchmarks import cases_of

    (case,) = (case for case in cases_of(row, bool(quick), "cpu") if case.name == name)
    first, weights = next(iter(case.sides)), folder / "weights.npz"
    work = case.sides[side]({} if side == first else dict(np.load(weights)))
    if side == first:
        np.savez(weights, **work.weights)
    for _ in range(3):
        work.run()
    began = time.perf_counter()
    for _ in range(steps):
        work.run()
    seconds = (time.perf_counter() - began) / steps
    spent = of_jax(work.run, steps, dump) if side.startswith("mmjax") else of_torch(work.run, steps)
    times = steps * work.repeats
    found = {"seconds": seconds / work.repeats, "operations": {name: spent / times for name, spent in spent.most_common()}}
    (folder / f"{side}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
