"""Fusion beside unimodal subtasks, whose labels are generated in training (`train.unimodal_labels`)."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmjax.fusion.joint import one_token, pool, project
from mmjax.fusion.outputs import FusedTokens
from mmjax.nn import Dropout
from mmjax.nn.checks import positive, rate
from mmjax.types import Tokens

__all__ = ["SelfMM"]


class SelfMM(nn.Module):
    """The networks of Self-MM (Yu et al., 2021, "Learning modality-specific representations with self-supervised multi-task
    learning"), for the vectors x_k and for x = [x_1; ...; x_K]:

        f = relu(W x + b),   y = c . relu(V f + a) + d,   and f_k, y_k likewise from x_k with networks of their own

    The output is f as one token. Other outputs: "features" and "score" (f and y), "k.features" and "k.score". With the authors'
    loss and their labels of each modality for real-valued targets:

        heads=published.self_mm_heads("score", ("audio", "text", "video")),
        loss=SelfMMLoss(("audio", "text", "video"), "score"),
        gradient=UnimodalLabels(examples, ("audio", "text", "video"), "score"),

    It equals the authors' code; its networks before the fusion are the encoders. All f_k have one width and one rate of
    dropout, which the authors choose one by one.

    width: of f. unimodal_width: of the f_k. dropout: rate on x. unimodal_dropout: rate on the x_k. dtype: of the matmuls.
    """

    width: int = 128
    unimodal_width: int = 32
    dropout: float = 0.0
    unimodal_dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width", "unimodal_width")
        rate(self, "dropout", "unimodal_dropout")
        vectors, present = pool(tokens, 0.0, train)
        valid = {"": present.any(axis=1), **dict(zip(vectors, present.T))}
        outputs = {}
        for name, x in {"": jnp.concatenate(list(vectors.values()), axis=-1), **vectors}.items():
            width, dropout = (self.unimodal_width, self.unimodal_dropout) if name else (self.width, self.dropout)
            part, prefix = name or "fused", f"{name}." if name else ""
            layer = lambda x, width, kind, part=part: project(x, width, f"{part}_{kind}", self.dtype)
            features = nn.relu(layer(Dropout(dropout, name=f"{part}_dropout")(x, train=train), width, "features"))
            score = layer(nn.relu(layer(features, width, "hidden")), 1, "score")
            for kind, y in (("features", features), ("score", score)):
                outputs[prefix + kind] = jnp.where(valid[name][:, None], y, 0)
        fused = one_token(outputs["features"], present)
        return FusedTokens(fused.x, fused.mask, outputs)
