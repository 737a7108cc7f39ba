#!/usr/bin/env python3
"""What a training step of a large language model costs on many devices, compiled from shapes alone: nothing is allocated.

    python scripts/large_costs.py llama2_7b --mesh data=8,fsdp=32
    python scripts/large_costs.py llama3_2_1b llama2_7b qwen3_32b --training full lora --mesh data=8,fsdp=32 --rows 256

The devices are simulated by this machine's CPU. For each model it prints the memory of a device, the collectives, the FLOPs,
and what named chips could do at best. The step is that of an experiment with `--plan sharded`: float32 parameters, AdamW, a
loop over the blocks whose activations are computed again (`Deep(..., Scan(...))`), and logits in chunks.
"""

import argparse
import math
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mmjax.decoders import Factored, LanguageModel, language_models
from mmjax.encoders import LoRA, NoTokens
from mmjax.experiment.chips import chips_table, collectives_table
from mmjax.experiment.costs import shapes_of
from mmjax.fusion import Append
from mmjax.losses import CrossEntropy, On
from mmjax.model import Multimodal
from mmjax.nn import Deep, Scan
from mmjax.train.optim import AdamW
from mmjax.train.parallel import program_bytes
from mmjax.train.program import Program, read_program
from mmjax.train.sharded import Mesh, grid_of, of_rows, sharded, simulate
from mmjax.train.stages import Stage
from mmjax.train.training import Schedule, Training
from mmjax.types import Batch

TRAININGS = ("full", "lora")


class Step(NamedTuple):
    """A compiled step on one device. parameters: of the model. state, memory: bytes of what stays between steps, and of all.
    model_flops: of the model, without what is computed again. seconds: of the compilation."""

    parameters: int
    state: int
    memory: int
    model_flops: float
    program: Program
    seconds: float


def model_flops(model: LanguageModel, rows: int, tokens: int, learns_all: bool) -> float:
    """FLOPs of a step by the count of PaLM's appendix B (Chowdhery et al., 2022), with causal attention: a product of each
    token with each weight of the blocks and the output layer, forward, for the gradient of activations and for that of weights,
    the last only where weights learn; and products of the attention, of which half are masked."""
    head_width = model.head_width or model.width // model.heads
    block = model.width * head_width * 2 * (model.heads + model.kv_heads) + 3 * model.width * model.hidden
    weights = model.depth * block + model.width * model.vocabulary
    attention = model.depth * 2 * tokens * model.heads * head_width / 2  # multiplications of a token
    return 2.0 * rows * tokens * (weights * (3 if learns_all else 2) + attention * 3)


def training_of(model: LanguageModel, how: str, plan: Any) -> Training:
    """how: of `TRAININGS`."""
    decoder = Deep(Factored(model, chunk=1024), Scan(jax.checkpoint_policies.nothing_saveable))
    decoder, learns = (LoRA(decoder), ("decoders_text/lora",)) if how == "lora" else (decoder, ("",))
    whole = Multimodal({"text": NoTokens()}, Append(), decoders={"text": decoder})
    stages = (Stage(learns=learns),)
    return Training(whole, On("text", CrossEntropy()), AdamW(lr=1e-4), Schedule(1000, 1000, 1000), stages, plan=plan)


def compiled(model: LanguageModel, how: str, mesh: Mesh, rows: int, tokens: int) -> Step:
    """The step of a model on this mesh. rows: of a batch, on all devices. how: of `TRAININGS`."""
    plan, spread, shape = sharded(mesh), of_rows(grid_of(mesh), 3), jax.ShapeDtypeStruct
    training = training_of(model, how, plan)
    inputs, present, targets = shape((rows, 1), jnp.float32), shape((rows,), jnp.bool_), shape((rows, tokens), jnp.int32)
    batch = Batch({"text": inputs}, {"text": present}, {"text": targets}, shape((rows,), jnp.float32))
    variables = flatten_dict(jax.eval_shape(training.model.init, jax.random.key(0), batch), sep="/")
    published = {path: leaf for path, leaf in variables.items() if "/base/" in path}  # those that LoRA does not change
    state, frozen = shapes_of(training, 1, batch, published)
    batches = jax.tree.map(lambda leaf: shape((1, 1, *leaf.shape), leaf.dtype, sharding=spread), batch)
    state, frozen = plan.place(state), plan.place(frozen, seeds=False)
    began = time.monotonic()
    program = plan.train(training.step(0)).lower(state, frozen, batches).compile()
    seconds = time.monotonic() - began
    held = sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves((state, frozen)))
    flops = model_flops(model, rows, tokens, how == "full") / spread.mesh.size
    parameters = sum(leaf.size for leaf in variables.values())
    return Step(parameters, held, program_bytes(program) or 0, flops, read_program(program), seconds)


def mesh_of(text: str) -> Mesh:
    """"data=8,fsdp=32" -> Mesh(data=8, fsdp=32)."""
    try:
        sizes = {name.strip(): int(size) for name, _, size in (part.partition("=") for part in text.split(","))}
        if sizes.get("seeds", 1) != 1:
            raise ValueError("the step is that of one seed")
        return Mesh(**{"data": 1, **sizes})
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no mesh such as data=8,fsdp=32 ({error})") from None


def main(arguments: list[str] | None = None) -> None:
    """Prints the tables. Exits with one line for an error."""
    parser = argparse.ArgumentParser(description="Costs of a training step of large language models, from shapes alone.")
    known = [name for name in language_models.__all__ if name != "gpt2_small"]
    parser.add_argument("models", nargs="+", choices=known, metavar="MODEL", help=", ".join(known))
    parser.add_argument("--mesh", type=mesh_of, default=Mesh(data=8, fsdp=32), help="of the devices (default: data=8,fsdp=32)")
    parser.add_argument("--training", nargs="+", choices=TRAININGS, default=["full"], help="what learns (default: full)")
    parser.add_argument("--rows", type=int, help="of a batch, on all devices (default: one for each)")
    parser.add_argument("--tokens", type=int, default=2048, help="of each row (default: %(default)s)")
    dtypes = ("bfloat16", "float32")
    parser.add_argument("--dtype", default="bfloat16", choices=dtypes, help="of products (default: %(default)s)")
    given = parser.parse_args(arguments)
    mesh, console = given.mesh, Console(width=None if sys.stdout.isatty() else 128)
    parts = mesh.data * mesh.fsdp
    rows = parts if given.rows is None else given.rows
    if rows < 1 or rows % parts or given.tokens < 1:
        needed = f"rows must be a positive multiple of data x fsdp, {parts}"
        sys.exit(f"error: --rows is {rows} and --tokens {given.tokens}; {needed}")
    simulate(mesh)
    title = f"a step of {rows:,} rows of {given.tokens:,} tokens on {parts * mesh.tensor} devices, for each"
    table = Table(title=title, box=SIMPLE_HEAD)
    for name in ("program", "parameters", "state, GB", "memory, GB", "TFLOP", "TFLOP of the model", "compiled in, s"):
        table.add_column(name, justify="left" if name == "program" else "right", no_wrap=name == "program")
    found: dict[str, Step] = {}
    for name in given.models:
        model = getattr(language_models, name)(dtype=jnp.dtype(given.dtype))
        for how in given.training:
            with console.status(f"compiling {name}, {how}"):
                try:
                    step = found[f"{name}, {how}"] = compiled(model, how, mesh, rows, given.tokens)
                except ValueError as error:  # more tokens than positions
                    sys.exit(f"error: {name}: {error}")
            sizes = f"{step.state / 1e9:.2f}", f"{step.memory / 1e9:.2f}"
            flops = f"{step.program.flops / 1e12:.1f}", f"{step.model_flops / 1e12:.1f}"
            table.add_row(f"{name}, {how}", f"{step.parameters:,}", *sizes, *flops, f"{step.seconds:.0f}")
    console.print(table)
    console.print(collectives_table([(name, step.program) for name, step in found.items()]))
    console.print(chips_table([(name, step.program, step.memory, step.model_flops) for name, step in found.items()]))


if __name__ == "__main__":
    main()
