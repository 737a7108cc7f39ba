"""Captions for a memory of 64 image tokens: a Transformer decoder of 4 blocks, width 384, 10,000 token ids, with a cache; 32
tokens after the first, none of which ends the text; greedy, or with four beams. The torch sides are transformers' Whisper
decoder, which has the same arithmetic, and a loop written by hand for these sizes, with a preallocated cache.
"""

from functools import partial

import numpy as np

from benchmarks.case import Case, Weights, Workload
from benchmarks.torch_captioner import looped_workload

FIRST, MEMORY, BEAMS = 1, 64, 4
REAL = {"batch": 16, "tokens": 32, "vocabulary": 10_000, "width": 384, "depth": 4, "heads": 6, "hidden": 1536, "positions": 448}
QUICK = {"batch": 2, "tokens": 4, "vocabulary": 50, "width": 16, "depth": 2, "heads": 2, "hidden": 32, "positions": 8}
NO_END = -1  # not a token id, so no text ends


def cases(quick: bool, device: str) -> list[Case]:
    sizes = QUICK if quick else REAL
    loop_sizes, inputs = sizes | {"first": FIRST}, memory(sizes)
    generate, loop = {"cpu": (3.0, 2.0), "gpu": (5.0, 5.0)}[device]
    greedy = {
        "mmjax": partial(mmjax_workload, sizes, 1),
        "transformers": partial(generated_workload, sizes, device, 1),
        "torch loop": partial(looped_workload, loop_sizes, inputs, device, False),
        **({} if quick else {"torch loop compiled": partial(looped_workload, loop_sizes, inputs, device, True)}),
    }
    beams = {"mmjax": partial(mmjax_workload, sizes, BEAMS), "transformers": partial(generated_workload, sizes, device, BEAMS)}
    note = "on an accelerator, outputs are compared in float32, and all sides are timed in TF32" if device == "gpu" else ""
    return [
        Case("greedy", greedy, {"transformers": generate, "torch loop": loop, "torch loop compiled": loop}, note=note),
        Case(f"{BEAMS} beams", beams, {"transformers": generate}, note=note),
    ]


def memory(sizes: dict[str, int]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((sizes["batch"], MEMORY, sizes["width"]), np.float32)


def flops(sizes: dict[str, int], beams: int) -> float:
    """The FLOPs of the matmuls; a token attends to half of the tokens on average."""
    batch, tokens, width = sizes["batch"], sizes["tokens"], sizes["width"]
    block = 6 * width**2 + 2 * width * sizes["hidden"] + 2 * width * (tokens / 2 + MEMORY)
    per_token = sizes["depth"] * block + width * sizes["vocabulary"]
    return 2 * batch * (beams * tokens * per_token + sizes["depth"] * MEMORY * 2 * width**2)


def mmjax_workload(sizes: dict[str, int], beams: int, weights: Weights) -> Workload:
    import jax
    import jax.numpy as jnp

    from benchmarks.mmjax_side import flatten, parameter_count
    from mmjax.decoders import Decoder
    from mmjax.nn.search import beam, greedy
    from mmjax.types import Padded, Tokens

    batch, tokens = sizes["batch"], sizes["tokens"]
    fields = {name: size for name, size in sizes.items() if name not in ("batch", "tokens")}
    decoder = Decoder(**fields, key_bias=False)
    encoded = Tokens(jnp.asarray(memory(sizes)), jnp.ones((batch, MEMORY), bool))
    prompt = jnp.full((batch, 1), FIRST)
    variables = jax.jit(decoder.init)(jax.random.key(0), Padded(prompt, jnp.ones(batch, int)), encoded)
    keys = jax.random.split(jax.random.key(1), len(jax.tree.leaves(variables)))
    leaves, form = jax.tree.flatten(variables)  # noise makes biases nonzero and separates the logits
    variables = form.unflatten([leaf + 0.05 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys)])

    @jax.jit
    def decode(variables, encoded):
        cache = decoder.apply(variables, encoded, tokens, beams, method="init_cache")
        step = lambda ids, cache: decoder.apply(variables, ids, cache, method="step")
        if beams == 1:
            return greedy(step, cache, prompt, tokens, NO_END).x, jnp.zeros(batch)
        texts, scores = beam(step, cache, prompt, tokens, NO_END, beams)
        return texts.x, scores

    run = lambda: jax.block_until_ready(decode(variables, encoded))
    with jax.default_matmul_precision("highest"):
        texts, scores = run()
        logits = jax.jit(decoder.apply)(variables, Padded(texts, jnp.full(batch, tokens)), encoded)
    outputs = {"texts": np.asarray(texts), "scores": np.asarray(scores), "logits": np.asarray(logits)}
    params = variables["params"]
    copied = as_whisper(flatten(params), sizes["depth"])
    return Workload(run, outputs, parameter_count(params), copied, flops(sizes, beams))


def as_whisper(params: dict[str, np.ndarray], depth: int) -> dict[str, np.ndarray]:
    """The parameters as tensors of Whisper's decoder."""
    weights = {"embed_tokens.weight": params["word/embedding"], "embed_positions.weight": params["position"]}
    norms, dense = {"layer_norm": "norm"}, {}
    for block in range(depth):
        ours, theirs = f"block{block}", f"layers.{block}"
        norms |= {
            f"{theirs}.self_attn_layer_norm": f"{ours}/norm1",
            f"{theirs}.encoder_attn_layer_norm": f"{ours}/norm_cross",
            f"{theirs}.final_layer_norm": f"{ours}/norm2",
        }
        dense |= {f"{theirs}.fc1": f"{ours}/up", f"{theirs}.fc2": f"{ours}/down"}
        for attention, name in (("attention", "self_attn"), ("cross", "encoder_attn")):
            for part, short in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj")):
                dense[f"{theirs}.{name}.{short}"] = f"{ours}/{attention}/{part}"
    for theirs, ours in norms.items():
        weights |= {f"{theirs}.weight": params[f"{ours}/scale"], f"{theirs}.bias": params[f"{ours}/bias"]}
    for theirs, ours in dense.items():
        weights[f"{theirs}.weight"] = params[f"{ours}/kernel"].T
        if f"{ours}/bias" in params:
            weights[f"{theirs}.bias"] = params[f"{ours}/bias"]
    return weights


def generated_workload(sizes: dict[str, int], device: str, beams: int, weights: Weights) -> Workload:
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration
    from transformers.generation import GenerationMixin
    from transformers.modeling_outputs import BaseModelOutput

    from benchmarks.torch_side import DEVICES, full_precision, parameter_count, synchronized, to_device, with_weights

    config = WhisperConfig(
        vocab_size=sizes["vocabulary"],
        d_model=sizes["width"],
        encoder_layers=1,
        encoder_attention_heads=1,
        encoder_ffn_dim=1,
        decoder_layers=sizes["depth"],
        decoder_attention_heads=sizes["heads"],
        decoder_ffn_dim=sizes["hidden"],
        max_source_positions=MEMORY,
        max_target_positions=sizes["positions"],
        pad_token_id=0,
        bos_token_id=FIRST,
        eos_token_id=None,
        decoder_start_token_id=FIRST,
        suppress_tokens=[],
        begin_suppress_tokens=[],
        attn_implementation="sdpa",
    )
    model = WhisperForConditionalGeneration(config).eval()
    with_weights(model.model.decoder, weights, device)
    model.to(DEVICES[device])
    model.generation_config.eos_token_id = None
    encoded = BaseModelOutput(last_hidden_state=to_device(memory(sizes), device))
    prompt = to_device(np.full((sizes["batch"], 1), FIRST), device)

    def run():
        found = GenerationMixin.generate(  # Whisper's own `generate` cuts audio into segments first
            model,
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded.last_hidden_state),
            decoder_input_ids=prompt,
            max_new_tokens=sizes["tokens"],
            do_sample=False,
            num_beams=beams,
            **({"early_stopping": "never"} if beams > 1 else {}),
            return_dict_in_generate=True,
            output_scores=beams > 1,
        )
        return synchronized(found, device)

    with full_precision(), torch.inference_mode():
        found = run()
        texts = found.sequences[:, 1:]
        logits = model(encoder_outputs=encoded, decoder_input_ids=texts).logits
    scores = found.sequences_scores if beams > 1 else torch.zeros(sizes["batch"])
    outputs = {name: x.cpu().numpy() for name, x in (("texts", texts), ("scores", scores), ("logits", logits))}
    return Workload(run, outputs, parameter_count(model.model.decoder))
