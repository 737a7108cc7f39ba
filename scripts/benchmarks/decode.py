"""Captions from a memory of 64 picture tokens: a Transformer decoder of 4 blocks, width 384 and 10,000 words, with a cache; 32
words after the first, no end among them; the likeliest word each time, or four beams. transformers' is the decoder of Whisper,
which has the same arithmetic; the loop is written by hand for these sizes, with room for all words from the start.
"""

from functools import partial
from itertools import chain

import numpy as np

from benchmarks.work import Case, Weights, Work

FIRST, MEMORY, BEAMS = 1, 64, 4
REAL = {"batch": 16, "words": 32, "vocabulary": 10_000, "width": 384, "depth": 4, "heads": 6, "hidden": 1536, "positions": 448}
QUICK = {"batch": 2, "words": 4, "vocabulary": 50, "width": 16, "depth": 2, "heads": 2, "hidden": 32, "positions": 8}
NEVER = -1  # a word that there is not: no text ends


def cases(quick: bool, device: str) -> list[Case]:
    sizes = QUICK if quick else REAL
    generate, loop = {"cpu": (3.0, 2.0), "gpu": (5.0, 5.0)}[device]
    greedy = {
        "mmjax": partial(ours, sizes, 1),
        "transformers": partial(generated, sizes, device, 1),
        "torch loop": partial(looped, sizes, device, False),
        **({} if quick else {"torch loop compiled": partial(looped, sizes, device, True)}),
    }
    beams = {"mmjax": partial(ours, sizes, BEAMS), "transformers": partial(generated, sizes, device, BEAMS)}
    note = "on an accelerator words are compared at full float32, and timed in TF32 on all sides" if device == "gpu" else ""
    return [
        Case("greedy", greedy, {"transformers": generate, "torch loop": loop, "torch loop compiled": loop}, note=note),
        Case(f"{BEAMS} beams", beams, {"transformers": generate}, note=note),
    ]


def memory(sizes: dict[str, int]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((sizes["batch"], MEMORY, sizes["width"]), np.float32)


def flops(sizes: dict[str, int], beams: int) -> float:
    """Of the matmuls; each word sees half of the words on average."""
    batch, words, width = sizes["batch"], sizes["words"], sizes["width"]
    block = 6 * width**2 + 2 * width * sizes["hidden"] + 2 * width * (words / 2 + MEMORY)
    each = sizes["depth"] * block + width * sizes["vocabulary"]
    return 2 * batch * (beams * words * each + sizes["depth"] * MEMORY * 2 * width**2)


def ours(sizes: dict[str, int], beams: int, weights: Weights) -> Work:
    import jax
    import jax.numpy as jnp

    from benchmarks.ours import flat, numbers
    from mmjax.decoders import Decoder
    from mmjax.nn.search import beam, greedy
    from mmjax.types import Padded, Tokens

    batch, words = sizes["batch"], sizes["words"]
    fields = {name: size for name, size in sizes.items() if name not in ("batch", "words")}
    decoder = Decoder(**fields, key_bias=False)
    seen = Tokens(jnp.asarray(memory(sizes)), jnp.ones((batch, MEMORY), bool))
    prompt = jnp.full((batch, 1), FIRST)
    variables = jax.jit(decoder.init)(jax.random.key(0), Padded(prompt, jnp.ones(batch, int)), seen)
    keys = jax.random.split(jax.random.key(1), len(jax.tree.leaves(variables)))
    leaves, form = jax.tree.flatten(variables)  # biases too, and logits far enough apart
    variables = form.unflatten([leaf + 0.05 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys)])

    @jax.jit
    def decode(variables, seen):
        cache = decoder.apply(variables, seen, words, beams, method="init_cache")
        step = lambda words, cache: decoder.apply(variables, words, cache, method="step")
        if beams == 1:
            return greedy(step, cache, prompt, words, NEVER).x, jnp.zeros(batch)
        texts, scores = beam(step, cache, prompt, words, NEVER, beams)
        return texts.x, scores

    run = lambda: jax.block_until_ready(decode(variables, seen))
    with jax.default_matmul_precision("highest"):
        texts, scores = run()
        logits = jax.jit(decoder.apply)(variables, Padded(texts, jnp.full(batch, words)), seen)
    outputs = {"texts": np.asarray(texts), "scores": np.asarray(scores), "logits": np.asarray(logits)}
    params = variables["params"]
    return Work(run, outputs, numbers(params), named(flat(params), sizes["depth"]), flops(sizes, beams))


def named(params: dict[str, np.ndarray], depth: int) -> dict[str, np.ndarray]:
    """As Whisper's decoder has them."""
    weights = {"embed_tokens.weight": params["word/embedding"], "embed_positions.weight": params["position"]}
    norms, dense = {"layer_norm": "norm"}, {}
    for block in range(depth):
        mine, theirs = f"block{block}", f"layers.{block}"
        norms |= {
            f"{theirs}.self_attn_layer_norm": f"{mine}/norm1",
            f"{theirs}.encoder_attn_layer_norm": f"{mine}/norm_cross",
            f"{theirs}.final_layer_norm": f"{mine}/norm2",
        }
        dense |= {f"{theirs}.fc1": f"{mine}/up", f"{theirs}.fc2": f"{mine}/down"}
        for attention, name in (("attention", "self_attn"), ("cross", "encoder_attn")):
            for part, short in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj")):
                dense[f"{theirs}.{name}.{short}"] = f"{mine}/{attention}/{part}"
    for theirs, mine in norms.items():
        weights |= {f"{theirs}.weight": params[f"{mine}/scale"], f"{theirs}.bias": params[f"{mine}/bias"]}
    for theirs, mine in dense.items():
        weights[f"{theirs}.weight"] = params[f"{mine}/kernel"].T
        if f"{mine}/bias" in params:
            weights[f"{theirs}.bias"] = params[f"{mine}/bias"]
    return weights


def generated(sizes: dict[str, int], device: str, beams: int, weights: Weights) -> Work:
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration
    from transformers.generation import GenerationMixin
    from transformers.modeling_outputs import BaseModelOutput

    from benchmarks.peers import DEVICES, count, done, full_precision, load, place

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
    load(model.model.decoder, weights, device)
    model.to(DEVICES[device])
    model.generation_config.eos_token_id = None
    seen = BaseModelOutput(last_hidden_state=place(memory(sizes), device))
    prompt = place(np.full((sizes["batch"], 1), FIRST), device)

    def run():
        found = GenerationMixin.generate(  # Whisper's own cuts sounds first
            model,
            encoder_outputs=BaseModelOutput(last_hidden_state=seen.last_hidden_state),
            decoder_input_ids=prompt,
            max_new_tokens=sizes["words"],
            do_sample=False,
            num_beams=beams,
            **({"early_stopping": "never"} if beams > 1 else {}),
            return_dict_in_generate=True,
            output_scores=beams > 1,
        )
        return done(found, device)

    with full_precision(), torch.inference_mode():
        found = run()
        texts = found.sequences[:, 1:]
        logits = model(encoder_outputs=seen, decoder_input_ids=texts).logits
    scores = found.sequences_scores if beams > 1 else torch.zeros(sizes["batch"])
    outputs = {name: x.cpu().numpy() for name, x in (("texts", texts), ("scores", scores), ("logits", logits))}
    return Work(run, outputs, count(model.model.decoder))


def looped(sizes: dict[str, int], device: str, compiled: bool, weights: Weights) -> Work:
    import torch
    from torch import nn
    from torch.nn.functional import gelu, linear, scaled_dot_product_attention

    from benchmarks.peers import DEVICES, count, done, full_precision, load, place

    batch, words, width, heads = (sizes[name] for name in ("batch", "words", "width", "heads"))

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(3))
            self.k_proj = nn.Linear(width, width, bias=False)

        def split(self, y):
            return y.view(batch, -1, heads, width // heads).transpose(1, 2)

        def remember(self, context):
            return self.split(self.k_proj(context)), self.split(self.v_proj(context))

        def forward(self, x, keys, values, mask=None):
            seen = scaled_dot_product_attention(self.split(self.q_proj(x)), keys, values, attn_mask=mask)
            return self.out_proj(seen.transpose(1, 2).reshape(x.shape))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.self_attn, self.encoder_attn = Attention(), Attention()
            self.self_attn_layer_norm, self.encoder_attn_layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)
            self.final_layer_norm = nn.LayerNorm(width)
            self.fc1, self.fc2 = nn.Linear(width, sizes["hidden"]), nn.Linear(sizes["hidden"], width)

        def forward(self, x, own, seen, at, known, mask):
            y = self.self_attn_layer_norm(x)
            for kept, new in zip(own, self.self_attn.remember(y)):
                kept.index_copy_(2, at, new)
            x = x + self.self_attn(y, *(kept[:, :, :known] for kept in own), mask)
            x = x + self.encoder_attn(self.encoder_attn_layer_norm(x), *seen)
            return x + self.fc2(gelu(self.fc1(self.final_layer_norm(x))))

    class Captioner(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed_tokens = nn.Embedding(sizes["vocabulary"], width)
            self.embed_positions = nn.Embedding(sizes["positions"], width)
            self.layers = nn.ModuleList(Block() for _ in range(sizes["depth"]))
            self.layer_norm = nn.LayerNorm(width)

        def forward(self, word, own, seen, at, known, mask):
            x = self.embed_tokens(word) + self.embed_positions(at)
            for layer, kept, remembered in zip(self.layers, own, seen):
                x = layer(x, kept, remembered, at, known, mask)
            return linear(self.layer_norm(x)[:, -1], self.embed_tokens.weight)

    model = load(Captioner().eval(), weights, device)
    context, first = place(memory(sizes), device), place(np.full((batch, 1), FIRST), device)
    places = torch.arange(words, device=DEVICES[device])
    empty = lambda: torch.zeros(batch, heads, words, width // heads, device=DEVICES[device])
    own = [(empty(), empty()) for _ in model.layers]
    if compiled:
        for kept in chain(*own):
            torch._dynamo.mark_static_address(kept)  # or no CUDA graph may write into it

    def next_word(word, seen, at):
        """With shapes that never change, for the compiler."""
        return model(word, own, seen, at, None, (places <= at)[None]).argmax(-1, keepdim=True)

    one_more = torch.compile(next_word, mode="reduce-overhead" if device == "gpu" else None) if compiled else None

    @torch.inference_mode()
    def decode():
        seen = [layer.encoder_attn.remember(context) for layer in model.layers]
        word, texts = first, []
        for number in range(words):
            at = places[number : number + 1]
            if compiled:
                word = one_more(word, seen, at).clone()
            else:
                word = model(word, own, seen, at, number + 1, None).argmax(-1, keepdim=True)
            texts.append(word)
        return done(torch.cat(texts, dim=1), device)

    @torch.inference_mode()
    def judged(texts):
        seen = [layer.encoder_attn.remember(context) for layer in model.layers]
        steps = [model(texts[:, n : n + 1], own, seen, places[n : n + 1], n + 1, None) for n in range(words)]
        return torch.stack(steps, dim=1)

    with full_precision():
        texts = decode()
        logits = judged(texts)
    outputs = {"texts": texts.cpu().numpy(), "scores": np.zeros(batch), "logits": logits.cpu().numpy()}
    return Work(decode, outputs, count(model))
