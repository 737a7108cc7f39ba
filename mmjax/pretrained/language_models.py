"""Llama, Mistral, Qwen2, Qwen3, Phi-3 and Gemma 1 to 3: transformers' models for causal language modelling."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mmjax.decoders.language_block import POST_NORMS, PRE_NORMS, QK_NORMS
from mmjax.decoders.language_model import LanguageModel
from mmjax.nn.attention import gelu_tanh
from mmjax.nn.rotary import LongScaling, Rope
from mmjax.pretrained.convert import Architecture
from mmjax.pretrained.files import WeightsError, read_json, shown
from mmjax.pretrained.gguf import read_gguf
from mmjax.pretrained.layout import DENSE, SAME, Layout, Names, dense
from mmjax.pretrained.rope import read_rope, rope_settings
from mmjax.pretrained.source import Source, is_integer
from mmjax.pretrained.texts import TextPreprocessing
from mmjax.pretrained.tokenizer_files import tokenizer_file
from mmjax.types import Padded

__all__ = [
    "EXAMPLE", "further_ends", "gemma", "gemma2", "gemma3", "language_texts", "llama", "mistral", "phi3", "prompt_and_end",
    "qwen2", "qwen3", "rows",
]  # fmt: skip

EXAMPLE = Padded(np.zeros((1, 1), np.int32), np.ones(1, np.int32))
"""Token ids, x Int[1 1]."""


def llama(source: Source) -> Architecture:
    """Llama 1 to 3, SmolLM and SmolLM2."""
    biases = ("query", "key", "value", "out") if source.flag("attention_bias", False) else ()
    biases += ("gate", "up", "down") if source.flag("mlp_bias", False) else ()
    return _architecture(source, biases=biases)


def mistral(source: Source) -> Architecture:
    """Mistral. A missing sliding_window is 4096 tokens, null means none."""
    window = _window(source) if "sliding_window" in source.config else 4096
    return _architecture(source, windows=(window,))


def qwen2(source: Source) -> Architecture:
    """Qwen2 and Qwen2.5."""
    return _architecture(source, biases=("query", "key", "value"), windows=_windows(source, _qwen_layer(source)))


def qwen3(source: Source) -> Architecture:
    """Qwen3, without experts."""
    biases = ("query", "key", "value", "out") if source.flag("attention_bias", False) else ()
    windows = _windows(source, _qwen_layer(source))
    return _architecture(source, norms=PRE_NORMS + QK_NORMS, biases=biases, windows=windows)


def phi3(source: Source) -> Architecture:
    """Phi-3 and Phi-4-mini, whose files join queries, keys and values, and gate and up."""
    dropout = source.fraction("resid_pdrop") if "resid_pdrop" in source.config else 0.0
    return _architecture(source, windows=(_window(source),), dropout=dropout)


def gemma(source: Source) -> Architecture:
    """Gemma 1. The activation "gelu" of its first files means the approximation by tanh."""
    activation = gelu_tanh if source.config.get("hidden_act") == "gelu" else source.activation()
    return _architecture(source, **_gemma(source) | {"activation": activation, "norms": PRE_NORMS})


def gemma2(source: Source) -> Architecture:
    """Gemma 2."""
    windows = _windows(source, lambda layer: layer % 2 == 0)
    caps = {"attention_cap": _cap(source, "attn_logit_softcapping"), "logit_cap": _cap(source, "final_logit_softcapping")}
    scale = source.positive("query_pre_attn_scalar", 256.0) ** -0.5
    return _architecture(source, **_gemma(source), **caps, windows=windows, query_scale=scale)


def gemma3(source: Source) -> Architecture:
    """The text model of Gemma 3."""
    source.require("attn_logit_softcapping", None)  # transformers ignores it
    pattern = source.integer("sliding_window_pattern", 6)
    windows = _windows(source, lambda layer: (layer + 1) % pattern != 0)
    both = rope_settings(source)
    if "full_attention" in both.config:
        rope, local = (read_rope(source, both.section(f"{kind}_attention")) for kind in ("full", "sliding"))
    else:  # transformers 4
        rope = read_rope(source, both, 1e6)
        local = Rope(source.positive("rope_local_base_freq", 10_000.0))
    more = {"windows": windows, "rope": rope, "local_rope": local, "logit_cap": _cap(source, "final_logit_softcapping")}
    scale = source.positive("query_pre_attn_scalar", 256.0) ** -0.5
    norms = PRE_NORMS + POST_NORMS + QK_NORMS
    return _architecture(source, **_gemma(source) | {"norms": norms}, **more, query_scale=scale)


def _gemma(source: Source) -> dict[str, Any]:
    """What all Gemma models have in common."""
    source.require("use_bidirectional_attention", None, False)
    name = "hidden_activation" if "hidden_activation" in source.config else "hidden_act"
    return {
        "activation": source.activation(name),
        "norms": PRE_NORMS + POST_NORMS,
        "norm_offset": 1.0,
        "embedding_scale": math.sqrt(source.integer("hidden_size")),
        "biases": ("query", "key", "value", "out") if source.flag("attention_bias", False) else (),
        "tied": source.flag("tie_word_embeddings", True),
    }


def _architecture(source: Source, **fields: Any) -> Architecture:
    """fields: of the module, where they differ from those of Llama."""
    width, heads = source.integer("hidden_size"), source.integer("num_attention_heads")
    vocabulary = source.integer("vocab_size")
    prompt, end = prompt_and_end(source, vocabulary)
    kv_heads = source.integer("num_key_value_heads", heads)
    rope = fields.get("rope") or read_rope(source)
    positions = source.integer("max_position_embeddings")
    if isinstance(rope.scaling, LongScaling):  # the short factors are for these
        positions = min(positions, rope.scaling.original)
    if heads % kv_heads:
        raise source.error("num_key_value_heads", f"a divisor of num_attention_heads, which is {heads}")
    values = {
        "vocabulary": vocabulary,
        "width": width,
        "depth": source.layers("num_hidden_layers"),
        "heads": heads,
        "kv_heads": kv_heads,
        "head_width": _head_width(source, width, heads),
        "hidden": source.integer("intermediate_size"),
        "activation": fields.get("activation") or source.activation(),
        "rope": rope,
        "epsilon": source.positive("rms_norm_eps"),
        "tied": source.flag("tie_word_embeddings", False),
        "positions": positions,
        "prompt": prompt,
        "end": end,
    }
    model = LanguageModel(**{**values, **fields})
    unused = (r".*rotary_emb\.inv_freq", *((r"lm_head\.weight",) if model.tied else ()))
    names = _names(model, "model." if "model.norm.weight" in source.tensors else "", source.config["model_type"] == "phi3")
    return Architecture(model, EXAMPLE, names, language_texts(source, model.positions), unused)


def _head_width(source: Source, width: int, heads: int) -> int | None:
    """None if it is the default, width / heads."""
    own = source.integer("head_dim", width // heads)
    return None if own * heads == width else own


def prompt_and_end(source: Source, vocabulary: int) -> tuple[tuple[int, ...], int]:
    """The token ids before every text, and the end token, the first of several. Without a beginning, texts follow an end."""
    known = lambda name, value: source.with_defaults({name: value}).integer(name, minimum=0, maximum=vocabulary - 1)
    ends, start = source.config.get("eos_token_id"), source.config.get("bos_token_id")
    end = known("eos_token_id", 0) if not isinstance(ends, list) else source.integers("eos_token_id", minimum=0)[0]
    if end >= vocabulary:
        raise source.error("eos_token_id", f"token ids below vocab_size, which is {vocabulary}")
    return (end if start is None else known("bos_token_id", end),), end


def further_ends(weights: Any, vocabulary: int, end: int) -> tuple[int, ...]:
    """The ids of the tokens that end an answer, besides the model's end token: those of generation_config.json, of config.json,
    or of a GGUF file. weights: `loading.Pretrained`, with preprocessing. vocabulary, end: of the language model."""
    texts = getattr(weights.preprocessing, "texts", weights.preprocessing)
    if texts is not None and texts.file.suffix == ".gguf":
        found = read_gguf(texts.file).metadata.get("tokenizer.ggml.eot_token_id")
    else:
        folder = weights.folder or (texts.file.parent if texts is not None else None)
        config = read_json(folder / "generation_config.json") if folder else {}
        found = config.get("eos_token_id", weights.config.get("eos_token_id"))
    ends = found if isinstance(found, list) else [found]
    return tuple(sorted({one for one in ends if is_integer(one, 0, vocabulary - 1)} - {end}))


def language_texts(source: Source, max_tokens: int) -> TextPreprocessing | None:
    """The tokenizer of tokenizer.json, tokenizer.model or a GGUF file, None without one. Padding is at the end, whatever they
    say."""
    file = source.tokenizer or tokenizer_file(source.folder)
    if file is None or file.suffix not in (".json", ".model", ".gguf"):
        return None
    padding = source.config.get("pad_token_id")
    return TextPreprocessing(file, max_tokens, padding if isinstance(padding, int) and padding >= 0 else 0)


def _cap(source: Source, name: str) -> float | None:
    return None if source.config.get(name) is None else source.positive(name)


def _window(source: Source) -> int | None:
    return None if source.config.get("sliding_window") is None else source.integer("sliding_window")


def _qwen_layer(source: Source) -> Callable[[int], bool]:
    """Which layers have a window unless layer_types says so."""
    if not source.flag("use_sliding_window", False):
        return lambda layer: False
    first = source.integer("max_window_layers", 28, minimum=0)
    return lambda layer: layer >= first


def _windows(source: Source, local: Callable[[int], bool]) -> tuple[int | None, ...]:
    """The window of each layer, in the shortest form. local: which layers have one unless layer_types says so."""
    depth, types = source.layers("num_hidden_layers"), source.config.get("layer_types")
    if types is None:
        types = ["sliding_attention" if local(layer) else "full_attention" for layer in range(depth)]
    known = {"sliding_attention", "full_attention"}
    if not isinstance(types, list) or len(types) != depth or not set(map(str, types)) <= known:
        raise WeightsError(
            f"{source.where}: {source.file} has layer_types = {shown(repr(types))}; it must be a list of sliding_attention or "
            f"full_attention for each of {depth} layers"
        )
    window = _window(source) if source.config.get("use_sliding_window", True) else None
    windows = tuple(window if kind == "sliding_attention" else None for kind in types)
    period = next(size for size in range(1, depth + 1) if all(windows[n] == windows[n % size] for n in range(depth)))
    return windows[:period]


def rows(first: int, count: int, index: int) -> Layout:
    """Part number `index` of a joint dense layer: `count` of its rows."""
    return Layout(lambda x: x[first : first + count].T, np.transpose, index)


def _names(model: LanguageModel, prefix: str, joint: bool) -> Names:
    """prefix: of the names. joint: whether queries, keys and values, and gate and up, are one tensor each."""
    names: Names = {"params/word/embedding": (f"{prefix}embed_tokens.weight", SAME)}
    names["params/norm/scale"] = (f"{prefix}norm.weight", SAME)
    if not model.tied:
        names["params/output"] = ("lm_head.weight", SAME)
    post = POST_NORMS[0] in model.norms
    norms = {
        "norm1": "input_layernorm",
        "post_norm1": "post_attention_layernorm",
        "norm2": "pre_feedforward_layernorm" if post else "post_attention_layernorm",
        "post_norm2": "post_feedforward_layernorm",
        "query_norm": "self_attn.q_norm",
        "key_norm": "self_attn.k_norm",
    }
    parts = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "o_proj"}
    head_width = model.head_width or model.width // model.heads
    queries, keys = model.heads * head_width, model.kv_heads * head_width
    for layer in range(model.depth):
        ours, theirs = f"params/block{layer}", f"{prefix}layers.{layer}"
        for name in model.norms:
            path = f"{ours}/attention/{name}" if name in QK_NORMS else f"{ours}/{name}"
            names[f"{path}/scale"] = (f"{theirs}.{norms[name]}.weight", SAME)
        split = {name: DENSE for name in (*parts, "gate", "up", "down")}
        if joint:
            split["query"], split["key"] = rows(0, queries, 0), rows(queries, keys, 1)
            split["value"] = rows(queries + keys, keys, 2)
            split["gate"], split["up"] = rows(0, model.hidden, 0), rows(model.hidden, model.hidden, 1)
        for name, part in parts.items():
            published = "qkv_proj" if joint and name != "out" else part
            bias = name in model.biases
            names |= dense(f"{ours}/attention/{name}", f"{theirs}.self_attn.{published}", bias, split[name])
        for name in ("gate", "up", "down"):
            published = "gate_up_proj" if joint and name != "down" else f"{name}_proj"
            names |= dense(f"{ours}/{name}", f"{theirs}.mlp.{published}", name in model.biases, split[name])
    return names
