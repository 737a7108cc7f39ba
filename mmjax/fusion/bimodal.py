"""Bi-bimodal fusion: one modality is fused with each of the others, in pairs of gated streams."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.fusion.attention import others
from mmjax.fusion.joint import one_token, project
from mmjax.fusion.outputs import FusedTokens
from mmjax.nn import GRU, Attention, Bidirectional, Dropout, any_token, masked_mean
from mmjax.nn.checks import divides, positive, rate
from mmjax.nn.pooling import first_valid
from mmjax.types import Tokens

__all__ = ["BBFN"]


def _neighbours(x: Float[Array, "b n d"]) -> Float[Array, "b n e"]:
    """[x_(i-1); x_i; x_(i+1)] for each token, with zeros beyond the ends."""
    before, after = (jnp.pad(x, ((0, 0), pad, (0, 0))) for pad in ((1, 0), (0, 1)))
    return jnp.concatenate([before[:, :-1], x, after[:, 1:]], axis=-1)


class _Complementation(nn.Module):
    """x <- f * A(LN(x), LN(c)) + r * x,  x <- x + M(LN'(x)), with gates f and r by the control vector of the pair."""

    heads: int
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        context: Float[Array, "b m d"],
        mask: Bool[Array, "b m"],
        control: Float[Array, "b e"],
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        width = x.shape[-1]
        drop = lambda y, name: Dropout(self.dropout, name=name)(y.astype(jnp.float32), train=train)
        gate = lambda name: nn.sigmoid(project(control, width, name, self.dtype))[:, None]
        norm = nn.LayerNorm(1e-5, name="norm_attention")
        attention = Attention(self.heads, dropout=self.dropout, dtype=self.dtype, name="attention")
        y = drop(attention(norm(x), norm(context), mask, train=train), "dropout_attention")
        x = gate("fuse") * y + gate("retain") * x
        y = nn.relu(project(nn.LayerNorm(1e-5, name="norm_perceptron")(x), 4 * width, "up", self.dtype))
        y = project(drop(y, "dropout_hidden"), width, "down", self.dtype)
        return x + drop(y, "dropout_perceptron")


class BBFN(nn.Module):
    """The bi-bimodal fusion network (Han et al., 2021, "Bi-bimodal modality fusion for correlation-controlled multimodal
    sentiment analysis"). Tokens are projected, x_k,i <- W_k [x_k,i-1; x_k,i; x_k,i+1]. Then, for the main modality x and each
    other one y, in each of `depth` layers with gates f, r = sigmoid(F [e_x; e_y]), sigmoid(R [e_x; e_y]) of each stream,

        x <- f * A(LN(x), LN(y)) + r * x,   x <- x + M(LN'(x)),   and y likewise, from x before the layer

    e_x is linear in the mean of the tokens in the first layer; later, the mean state of a bidirectional GRU, averaged over both
    directions. With h the first tokens of all streams side by side, the output is one token, h + W' relu(W h + b) + b'.

    The output "separation" is the loss of the feature-space separators: the mean cross-entropy in nats of perceptrons that tell
    e_x from e_y in each pair and layer. With the authors' weight:

        heads={"label": Classifier(9), "separation": FusionOutput("separation")},
        loss=WeightedLosses({"label": 1.0, "separation": (OutputLoss("separation"), 0.1)}),

    It equals the authors' code with its default projection, up to its last linear layer, which is the head. The code needs
    aligned modalities. Its embedding of the text is the encoder. A stream of an absent modality is zero in h, masked in the
    other stream, whose e_y is zero, and in "separation". There is one rate of dropout, where the code has rates.

    main: the modality in all pairs; ValueError if the model has no such modality. width: of the streams. depth: number of
    layers. heads: of the attention; they divide `width`. dropout: rate. dtype: of the matmuls.
    """

    main: str = "text"
    width: int = 40
    depth: int = 5
    heads: int = 5
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "depth")
        divides(self, "heads", "width")
        rate(self, "dropout")
        names = sorted(tokens)
        if self.main not in names or len(names) < 2:
            raise ValueError(f"BBFN.main is {self.main!r}; it must be one of several modalities, of {names}")
        clean = {name: jnp.where(tokens[name].mask[..., None], tokens[name].x, 0) for name in names}
        layer = lambda name, x: project(_neighbours(x), self.width, f"{name}_project", self.dtype, bias=False)
        streams = {name: Tokens(layer(name, x), tokens[name].mask) for name, x in clean.items()}
        pairs = [self._pair(streams, self.main, other, train) for other in others(names, self.main)]
        h = jnp.concatenate([first for firsts, _ in pairs for first in firsts], axis=-1)
        y = Dropout(self.dropout, name="dropout")(nn.relu(project(h, h.shape[-1], "up", self.dtype)), train=train)
        present = jnp.stack([any_token(tokens[name]) for name in names], axis=1)
        fused = one_token(h + project(y, h.shape[-1], "down", self.dtype), present)
        nats, valid = (jnp.stack(parts) for parts in zip(*(term for _, terms in pairs for term in terms)))
        separation = jnp.where(valid, nats, 0).sum(axis=0) / jnp.maximum(valid.sum(axis=0), 1)
        return FusedTokens(fused.x, fused.mask, {"separation": separation})

    def _pair(self, streams: Mapping[str, Tokens], main: str, other: str, train: bool) -> tuple[list, list]:
        """(the first tokens of both streams, [(nats, which examples count)] of the separators)."""
        names, terms = (main, other), []
        sides = dict(zip(("main", "other"), names))
        x = {side: streams[name] for side, name in sides.items()}
        present = {side: any_token(tokens) for side, tokens in x.items()}
        for number in range(self.depth):
            prefix = f"{other}{number}"
            e = {side: self._encoded(x[side], f"{prefix}_{side}", number == 0, train) for side in x}
            e = {side: jnp.where(present[side][:, None], value, 0) for side, value in e.items()}
            control, both = jnp.concatenate(list(e.values()), axis=-1), jnp.stack(list(e.values()), axis=1)
            hidden = nn.relu(project(both, 4 * self.width, f"{prefix}_separator_up", self.dtype))
            logits = project(hidden, 1, f"{prefix}_separator_down", self.dtype)[..., 0]
            terms += [(nn.softplus(logits[:, 0]), present["main"]), (nn.softplus(-logits[:, 1]), present["other"])]
            new = {}
            for side, source in (("main", "other"), ("other", "main")):
                block = _Complementation(self.heads, self.dropout, self.dtype, name=f"{prefix}_{side}")
                new[side] = x[side].replace(x=block(x[side].x, x[source].x, x[source].mask, control, train=train))
            x = new
        return [jnp.where(present[side][:, None], first_valid(tokens), 0) for side, tokens in x.items()], terms

    def _encoded(self, tokens: Tokens, name: str, linear: bool, train: bool) -> Float[Array, "b d"]:
        """e of one stream."""
        if linear:
            return project(masked_mean(tokens), self.width, f"{name}_encoder", self.dtype)
        layer = Bidirectional(GRU(self.width, self.dtype, parent=None), name=f"{name}_encoder")
        states = masked_mean(Tokens(layer(tokens.x, tokens.mask, train=train), tokens.mask))
        return sum(jnp.split(states, 2, axis=-1)) / 2
