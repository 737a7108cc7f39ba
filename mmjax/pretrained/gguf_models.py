"""Language models in GGUF files -> the config and the tensors that transformers would have saved."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.pretrained.files import INDEX_FILE, WEIGHTS_FILE, WeightsError, shown
from mmjax.pretrained.ggml import Blocks
from mmjax.pretrained.gguf import GGUF, GGUFTensor, LazyTensors, read_gguf
from mmjax.pretrained.source import LAYERS, Source

__all__ = ["GEMMA", "LAYER_NAMES", "MODEL_TYPES", "gguf_config", "gguf_file", "gguf_source", "gguf_tensors", "unpermuted"]

MODEL_TYPES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
}
"""general.architecture -> model_type."""
GEMMA = ("gemma", "gemma2", "gemma3")
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}
"""llama.cpp's name of a layer of a block -> transformers' name."""
_POST_NORMS = {
    "ffn_norm": "pre_feedforward_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def gguf_file(source: Path) -> Path | None:
    """The GGUF file that a path is, or that is the only one of a folder without other weights; None if there is none."""
    if source.suffix == ".gguf" and source.is_file():
        return source
    files = sorted(source.glob("*.gguf")) if source.is_dir() else []
    others = [name for name in (WEIGHTS_FILE, INDEX_FILE) if (source / name).is_file()]
    return files[0] if len(files) == 1 and not others else None


def gguf_source(file: Path, keep_blocks: bool = False) -> Source:
    """The source of a GGUF file. Its tensors are dequantised, to float32, when they are used; with `keep_blocks`, kernels of
    the layers are `ggml.Blocks` if they are quantised."""
    content = read_gguf(file)
    architecture = content.get("general.architecture", str)
    if architecture not in MODEL_TYPES:
        given = f"general.architecture is {shown(repr(architecture), 60)}"
        raise WeightsError(f"{file}: {given}; supported are {', '.join(MODEL_TYPES)}")
    config = gguf_config(content, architecture)
    tokenizer = file if "tokenizer.ggml.model" in content.metadata else None
    tensors = gguf_tensors(content, architecture, config, keep_blocks)
    return Source(str(file), config, tensors, None, tokenizer, file="the metadata")


def gguf_config(content: GGUF, architecture: str) -> dict[str, Any]:
    """The content of config.json."""
    integer = lambda name, default=None: content.get(f"{architecture}.{name}", int, default)
    number = lambda name, default=None: _decimal(content.get(f"{architecture}.{name}", float, default))
    width, heads = integer("embedding_length"), integer("attention.head_count")
    if "token_embd.weight" not in content.tensors or heads < 1:
        raise WeightsError(f"{content.file}: it needs the tensor token_embd.weight and at least one attention head")
    config = {
        "model_type": MODEL_TYPES[architecture],
        "vocab_size": content.tensors["token_embd.weight"].shape[0],
        "hidden_size": width,
        "num_hidden_layers": integer("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": integer("attention.head_count_kv", heads),
        "head_dim": integer("attention.key_length", width // heads),
        "intermediate_size": integer("feed_forward_length"),
        "max_position_embeddings": integer("context_length"),
        "rms_norm_eps": number("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in content.tensors,
        "hidden_act": "gelu_pytorch_tanh" if architecture in GEMMA else "silu",
        "rope_parameters": _rope(content, architecture, integer, number),
        "torch_dtype": "float32",
    }
    for ours, theirs in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        name = f"tokenizer.ggml.{theirs}_token_id"
        config[f"{ours}_token_id"] = content.get(name, int) if name in content.metadata else None
    if architecture in ("gemma2", "gemma3"):
        config |= _gemma(content, architecture, config, integer, number)
    return config


def _decimal(value: float) -> float:
    """The shortest decimal number that is this one in float32: 1e-05 instead of 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _rope(content: GGUF, architecture: str, integer: Callable, number: Callable) -> dict[str, Any]:
    plain = {"rope_type": "default", "rope_theta": number("rope.freq_base", 10_000.0)}
    size = integer("rope.dimension_count", -1)
    head = integer("attention.key_length", integer("embedding_length") // integer("attention.head_count"))
    if size > 0 and head > 0 and size != head:
        plain["partial_rotary_factor"] = size / head
    if "rope_freqs.weight" in content.tensors:  # the divisors of Llama 3's frequencies, which LongRoPE can express
        divisors = [float(x) for x in content.tensors["rope_freqs.weight"].array().reshape(-1)[:1000]]
        length = integer("context_length")
        more = {"short_factor": divisors, "long_factor": divisors, "attention_factor": 1.0}
        return plain | more | {"rope_type": "longrope", "original_max_position_embeddings": length}
    kind = content.get(f"{architecture}.rope.scaling.type", str, "none")
    if kind not in ("none", "linear"):
        raise WeightsError(f"{content.file}: rope.scaling.type is {shown(repr(kind), 60)}; supported are none and linear")
    scaled = plain | {"rope_type": "linear", "factor": number("rope.scaling.factor", 1.0)} if kind == "linear" else plain
    if architecture != "gemma3":
        return scaled
    return {"full_attention": scaled, "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0}}


def _gemma(content: GGUF, architecture: str, config: dict[str, Any], integer: Callable, number: Callable) -> dict[str, Any]:
    """What llama.cpp knows of Gemma 2 and 3 without metadata: the pattern of windows and, by depth, the factor of queries."""
    depth, largest = config["num_hidden_layers"], {"gemma2": 46, "gemma3": 62}[architecture]
    by_width = config["hidden_size"] // config["num_attention_heads"]
    more = {
        "sliding_window": integer("attention.sliding_window"),
        "query_pre_attn_scalar": by_width if depth == largest else config["head_dim"],
        "hidden_activation": config["hidden_act"],
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
    }
    if architecture == "gemma2":
        more["attn_logit_softcapping"] = number("attn_logit_softcapping", 50.0)
        more["final_logit_softcapping"] = number("final_logit_softcapping", 30.0)
    period = 2 if architecture == "gemma2" else 6
    kinds = ("sliding_attention", "full_attention")
    more["layer_types"] = [kinds[(layer + 1) % period == 0] for layer in range(min(depth, LAYERS + 1))]
    return more


def gguf_tensors(content: GGUF, architecture: str, config: dict[str, Any], keep_blocks: bool = False) -> LazyTensors:
    """{transformers' name: tensor}. keep_blocks: as in `gguf_source`. Raises WeightsError for unknown names."""
    layer_names = LAYER_NAMES | (_POST_NORMS if architecture in ("gemma2", "gemma3") else {})
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    makers: dict[str, Callable[[], np.ndarray]] = {}
    for name, tensor in content.tensors.items():
        if name == "rope_freqs.weight":
            continue
        begin, _, rest = name.partition(".")
        number, _, layer_and_kind = rest.partition(".")
        layer, _, kind = layer_and_kind.rpartition(".")
        if begin == "blk" and number.isdecimal() and layer in layer_names and kind in ("weight", "bias"):
            theirs = f"model.layers.{number}.{layer_names[layer]}.{kind}"
        else:
            theirs = (_NAMES | {"output.weight": "lm_head.weight"}).get(name, name)
        kept = keep_blocks and layer in layer_names and kind == "weight" and len(tensor.shape) == 2
        maker = partial(_blocks_or_array, tensor) if kept else tensor.array
        if architecture == "llama" and layer in heads:
            if heads[layer] < 1 or tensor.shape[0] % (2 * heads[layer]):
                found = f"{shown(name, 60)} has {tensor.shape[0]} rows"
                raise WeightsError(f"{content.file}: {found}, which are not {heads[layer]} heads of an even width")
            maker = partial(_unpermuted, maker, heads[layer])
        if architecture in GEMMA and theirs.endswith("norm.weight"):  # llama.cpp adds one
            maker = lambda tensor=tensor: tensor.array() - 1
        makers[theirs] = maker
    return LazyTensors(makers)


def _blocks_or_array(tensor: GGUFTensor) -> Blocks | np.ndarray:
    blocks = tensor.blocks()
    return tensor.array() if blocks is None else blocks


def _unpermuted(maker: Callable[[], Blocks | np.ndarray], heads: int) -> Blocks | np.ndarray:
    found, change = maker(), partial(unpermuted, heads=heads)
    return found.map(change) if isinstance(found, Blocks) else change(found)


def unpermuted(x: np.ndarray, heads: int) -> np.ndarray:
    """The rows of queries or keys in the order of transformers, where a pair that rotates is (i, i + width / 2).

    In llama.cpp's files of Llama a pair is adjacent, (2 i, 2 i + 1). heads: of the rows.
    """
    return x.reshape(heads, -1, 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)
