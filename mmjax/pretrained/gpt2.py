"""GPT-2: transformers' GPT2LMHeadModel and GPT2Model."""

from mmjax.decoders.gpt2 import GPT2
from mmjax.pretrained.convert import Architecture
from mmjax.pretrained.language_models import EXAMPLE, language_texts, prompt_and_end
from mmjax.pretrained.layout import SAME, Names, dense, norm
from mmjax.pretrained.source import Source

__all__ = ["gpt2"]


def gpt2(source: Source) -> Architecture:
    """GPT-2. Its dense layers are published as [in out]."""
    source.require("scale_attn_weights", True)
    source.require("scale_attn_by_inverse_layer_idx", False)
    source.require("add_cross_attention", False)
    source.require("tie_word_embeddings", True)
    width, vocabulary = source.integer("n_embd"), source.integer("vocab_size")
    prompt, end = prompt_and_end(source, vocabulary)
    model = GPT2(
        vocabulary=vocabulary,
        width=width,
        depth=source.layers("n_layer"),
        heads=source.integer("n_head"),
        hidden=source.integer("n_inner", 4 * width),
        activation=source.activation("activation_function"),
        positions=source.integer("n_positions"),
        epsilon=source.positive("layer_norm_epsilon"),
        dropout=source.fraction("resid_pdrop"),
        prompt=prompt,
        end=end,
    )
    prefix = "transformer." if "transformer.ln_f.weight" in source.tensors else ""
    unused = (r".*\.attn\.(masked_)?bias", r"lm_head\.weight")
    return Architecture(model, EXAMPLE, _names(model, prefix), language_texts(source, model.positions), unused)


def _names(model: GPT2, prefix: str) -> Names:
    names: Names = {"params/word/embedding": (f"{prefix}wte.weight", SAME), "params/position": (f"{prefix}wpe.weight", SAME)}
    layers = {"query_key_value": "attn.c_attn", "out": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
    for layer in range(model.depth):
        ours, theirs = f"params/block{layer}", f"{prefix}h.{layer}"
        for name, published in layers.items():
            names |= dense(f"{ours}/{name}", f"{theirs}.{published}", layout=SAME)
        names |= norm(f"{ours}/norm1", f"{theirs}.ln_1") | norm(f"{ours}/norm2", f"{theirs}.ln_2")
    return names | norm("params/norm", f"{prefix}ln_f")
