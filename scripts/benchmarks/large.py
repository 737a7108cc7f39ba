"""A training step of LoRA (rank 8, queries and values) on SmolLM2-135M with frozen weights: 4 texts of 128 tokens, AdamW.

torch's side is transformers' model and a loop written by hand, with low-rank layers beside the frozen ones. Another side of
mmjax trains three seeds at once over one copy of the frozen weights; its time is that of one seed, its memory that of all.
torch has to train them one after the other, in the time of one each. Quick: a tiny model with random weights.
"""

from functools import partial

import numpy as np

from benchmarks.case import TOLERANCE, Case, Weights, Workload
from benchmarks.llm import language_model, torch_model

RANK, ALPHA = 8, 16.0
KERNELS = {"query": "q_proj", "value": "v_proj"}
PROMPT = 1  # the token before every text
RATE, DECAY, COMPARED, SEEDS = 1e-3, 1e-2, 3, 3


def cases(quick: bool, device: str) -> list[Case]:
    batch, length = (2, 8) if quick else (4, 128)
    sides = {
        "mmjax": partial(mmjax_workload, quick, batch, length, 1),
        "torch": partial(torch_workload, quick, device, batch, length),
        f"mmjax {SEEDS} seeds": partial(mmjax_workload, quick, batch, length, SEEDS),
    }
    return [Case(f"LoRA, {batch} x {length} tokens", sides, {"torch": 1.0}, tolerance=TOLERANCE[device])]


def texts(vocabulary: int, batch: int, length: int) -> np.ndarray:
    """Random token ids Int[b n], above the special ones."""
    return np.random.default_rng(0).integers(20, vocabulary, (batch, length)).astype(np.int32)


def mmjax_workload(quick: bool, batch: int, length: int, seeds: int, weights: Weights) -> Workload:
    import jax
    import jax.numpy as jnp
    import optax
    from flax.traverse_util import flatten_dict, unflatten_dict

    from benchmarks.mmjax_side import flatten, parameter_count, take_seed
    from mmjax.decoders import Factored
    from mmjax.encoders import LoRA, NoTokens
    from mmjax.fusion import Append
    from mmjax.losses import CrossEntropy, On
    from mmjax.model import Multimodal
    from mmjax.train.parallel import single
    from mmjax.train.seeds import init_seeds
    from mmjax.train.stages import merged
    from mmjax.train.step import make_step
    from mmjax.types import Batch

    decoder, variables, tensors = language_model(quick)
    targets = {"text": jnp.asarray(texts(decoder.vocabulary, batch, length))}
    data = Batch({"text": jnp.zeros((batch, 1))}, {"text": jnp.ones(batch, bool)}, targets, jnp.ones(batch))
    lora = LoRA(Factored(decoder, chunk=64), RANK, ALPHA)
    model = Multimodal({"text": NoTokens()}, Append(), decoders={"text": lora})
    base = flatten_dict({"params": {"decoders_text": {"base": variables["params"]}}}, sep="/")
    frozen, learns = unflatten_dict(base, sep="/"), ("decoders_text/lora",)
    tx = optax.adamw(RATE, weight_decay=DECAY)
    state = init_seeds(model, tx, range(seeds), data, learns=learns, shared=frozenset(base))
    initial = take_seed(jax.tree.map(np.asarray, state.params))
    step, current = single().train(make_step(model, On("text", CrossEntropy()), tx, learns=learns)), [state]
    batches = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (1, seeds, *leaf.shape)), data)

    def run() -> np.ndarray:
        current[0], metrics = step(current[0], frozen, batches)
        return np.asarray(jax.block_until_ready((current[0], metrics))[1]["loss"])[0, 0]

    last = jax.jit(lambda variables: model.apply(variables, data)["text"][:, -1:].computed()[:, 0])
    outputs = {"logits": np.asarray(last(merged({"params": initial}, frozen)))}
    added = {path.removeprefix("decoders_text/lora/"): x for path, x in flatten(initial).items()}
    tensors = tensors | {f"lora/{path}": x for path, x in added.items()}
    compared = COMPARED * seeds  # those of the first seed, one for each call
    return Workload(run, outputs, parameter_count(initial), tensors, compared_losses=compared, repeats=seeds)


def torch_workload(quick: bool, device: str, batch: int, length: int, weights: Weights) -> Workload:
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    from benchmarks.torch_side import adamw, count_flops, parameter_count, to_device, train_step

    class LowRank(nn.Module):
        """x W + (alpha / rank) (x A) B, with a frozen W."""

        def __init__(self, base: nn.Linear, a: np.ndarray, b: np.ndarray):
            super().__init__()
            self.base = base
            self.a, self.b = (nn.Parameter(to_device(x, device)) for x in (a, b))

        def forward(self, x):
            return self.base(x) + ALPHA / RANK * (x @ self.a @ self.b)

    model = torch_model(quick, device, "float32", {name: x for name, x in weights.items() if not name.startswith("lora/")})
    model.requires_grad_(False)
    for number, block in enumerate(model.model.layers):
        for ours, theirs in KERNELS.items():
            a, b = (weights[f"lora/block{number}/attention/{ours}/{part}"] for part in "ab")
            setattr(block.self_attn, theirs, LowRank(getattr(block.self_attn, theirs), a, b))
    ids = to_device(texts(model.config.vocab_size, batch, length), device).long()
    given = torch.cat([torch.full_like(ids[:, :1], PROMPT), ids[:, :-1]], dim=1)

    def loss():
        return cross_entropy(model(given, use_cache=False).logits.flatten(0, 1), ids.flatten())

    with torch.no_grad():
        logits = model(given, use_cache=False).logits[:, -1].cpu().numpy()
    flops = count_flops(lambda: loss().backward())
    step = train_step(loss, adamw((x for x in model.parameters() if x.requires_grad), RATE, DECAY), device)
    return Workload(step, {"logits": logits}, parameter_count(model), flops=flops, compared_losses=COMPARED)
