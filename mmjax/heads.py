"""Heads: Tokens -> the outputs of one task; and parameters of losses, which are modules without inputs.

Heads pool tokens by their mean. The mean of no tokens is zero, so outputs are always finite.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from mmjax.nn import masked_mean
from mmjax.nn.checks import positive
from mmjax.types import Tokens

__all__ = [
    "Bias", "Classifier", "EachToken", "LogVariances", "Mean", "MultiLabel", "Ordinal", "Projection", "Regressor",
    "Temperature", "TokenLogits",
]


class Classifier(nn.Module):
    """Mean token -> float32 logits [b classes]; their softmax is the probability of each class.

    classes: number of classes. hidden: widths of fully connected layers with ReLU before the last layer. `Classifier(2,
    hidden=(64,))` over fused tokens is the head of image-text matching.
    """

    classes: int
    hidden: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b classes"]:
        positive(self, "classes", "hidden")
        x = masked_mean(tokens).astype(jnp.float32)
        for layer, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width, name=f"hidden{layer}")(x))
        return nn.Dense(self.classes, name="dense")(x)


class MultiLabel(nn.Module):
    """Mean token -> float32 logits [b labels]; the sigmoid of each is the probability of that label.

    labels: number of labels.
    """

    labels: int

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b labels"]:
        positive(self, "labels")
        return nn.Dense(self.labels, name="dense")(masked_mean(tokens).astype(jnp.float32))


class Regressor(nn.Module):
    """Mean token h -> W h + b, float32 [b outputs], in units of the target.

    outputs: number of values.
    """

    outputs: int = 1

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b outputs"]:
        positive(self, "outputs")
        return nn.Dense(self.outputs, name="dense")(masked_mean(tokens).astype(jnp.float32))


class Ordinal(nn.Module):
    """Mean token h -> float32 log-probabilities [b classes] of ordered classes (proportional odds).

        P(class <= k) = sigmoid(t_k - w . h), with thresholds t_0 < t_1 < ... < t_(classes - 2)

    McCullagh, "Regression models for ordinal data", 1980. The probabilities sum to one, so the cross-entropy of this output is
    the model's negative log-likelihood. The thresholds are initialised so that all classes are equally probable for h = 0.
    ValueError if there are fewer than two classes.
    """

    classes: int

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b classes"]:
        if self.classes < 2:
            raise ValueError(f"Ordinal.classes is {self.classes}; it must be at least 2")
        score = nn.Dense(1, use_bias=False, name="dense")(masked_mean(tokens).astype(jnp.float32))
        share = np.arange(1, self.classes) / self.classes
        start = np.log(share / (1 - share)).astype(np.float32)  # logits of 1/K, 2/K, ...
        thresholds = self.param("first", nn.initializers.constant(start[0]), (1,))
        inner = jnp.zeros((1, 0))
        if self.classes > 2:
            raw = self.param("gaps", lambda key, shape: jnp.log(jnp.expm1(jnp.asarray(np.diff(start)))), (self.classes - 2,))
            gaps = nn.softplus(raw) + 1e-6  # positive for any parameter, so that no class has probability zero
            thresholds = jnp.concatenate([thresholds, thresholds + jnp.cumsum(gaps)])
            # sigmoid(a) - sigmoid(c) = sigmoid(a) sigmoid(-c) (1 - e^(c - a)): in logarithms nothing cancels
            inner = jnp.log(-jnp.expm1(-gaps))[None, :]
        z = thresholds[None, :] - score
        below, above = nn.log_sigmoid(z), nn.log_sigmoid(-z)
        return jnp.concatenate([below[:, :1], below[:, 1:] + above[:, :-1] + inner, above[:, -1:]], axis=-1)


class Mean(nn.Module):
    """The mean token, float32 [b d], for fusions whose tokens are already outputs, such as `MeanLogits`."""

    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b d"]:
        return masked_mean(tokens).astype(jnp.float32)


class Projection(nn.Module):
    """Mean token h -> W h / |W h|, float32 [b width]: an embedding of unit length, to be compared by dot products.

    An example without tokens has h = 0; the output is then zero and its gradient finite. width: None for h / |h|. bias: use
    W h + b instead of W h; the output without tokens is then b / |b|.
    """

    width: int | None = 64
    bias: bool = False

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b width"]:
        positive(self, "width")
        x = masked_mean(tokens).astype(jnp.float32)
        if self.width is not None:
            x = nn.Dense(self.width, use_bias=self.bias, name="dense")(x)
        return x * lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-12))


class EachToken(nn.Module):
    """Applies a head to every token separately, with shared parameters: outputs [b n ...] for targets [b n]."""

    head: nn.Module

    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b n ..."]:
        b, n = tokens.mask.shape
        outputs = self.head(Tokens(tokens.x.reshape(b * n, 1, -1), tokens.mask.reshape(b * n, 1)), train=train)
        return outputs.reshape(b, n, *outputs.shape[1:])


class TokenLogits(nn.Module):
    """Tokens -> Tokens with float32 logits [b n vocabulary], one vector for each token, for `losses.CTC`.

    vocabulary: number of token ids. The blank is one of them: 0, which is also the end token of texts. Logits of masked tokens
    are undefined.
    """

    vocabulary: int

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Tokens:
        positive(self, "vocabulary")
        x = jnp.where(tokens.mask[..., None], tokens.x, 0).astype(jnp.float32)
        return Tokens(nn.Dense(self.vocabulary, name="dense")(x), tokens.mask)


class Temperature(nn.Module):
    """Loss parameter: a temperature t > 0, Float[], by which `InfoNCE` and `SigmoidPairs` divide similarities.

    The parameter is log(1 / t). CLIP (Radford et al., 2021, section 2.5) starts at t = 0.07 and limits 1 / t to 100, so
    smallest = 0.01; SigLIP (Zhai et al., 2023) starts at 0.1. Beyond the limit the value is constant, but the gradient is that
    without a limit, so that the parameter can return.

    start: initial value. smallest: lower limit. ValueError unless 0 < smallest <= start.
    """

    start: float = 0.07
    smallest: float = 0.01

    @nn.compact
    def __call__(self) -> Float[Array, ""]:
        if not 0 < self.smallest <= self.start:
            raise ValueError(
                f"Temperature.start is {self.start} and Temperature.smallest {self.smallest}; it must be 0 < smallest <= start"
            )
        scale = self.param("log_scale", nn.initializers.constant(float(-np.log(self.start))), (1,))
        limited = scale + lax.stop_gradient(jnp.minimum(scale, float(-np.log(self.smallest))) - scale)
        return jnp.exp(-limited)[0]


class Bias(nn.Module):
    """Loss parameter: the bias of the logits of `SigmoidPairs`, Float[]. SigLIP (Zhai et al., 2023) starts at -10.

    start: initial value.
    """

    start: float = -10.0

    @nn.compact
    def __call__(self) -> Float[Array, ""]:
        return jnp.asarray(self.param("bias", nn.initializers.constant(self.start), (1,)))[0]


class LogVariances(nn.Module):
    """Loss parameter: s_i = log sigma_i^2 of each loss, Float[losses], in the order of the sorted names, for `Uncertainty`.

    Kendall, Gal and Cipolla, CVPR 2018. All start at 0, which weighs the losses equally.

    losses: their names. ValueError unless there is at least one name and no name repeats.
    """

    losses: tuple[str, ...]

    @nn.compact
    def __call__(self) -> Float[Array, " losses"]:
        if len(set(self.losses)) != len(self.losses) or not self.losses:
            raise ValueError(f"LogVariances.losses is {self.losses}; it must name at least one loss, and each only once")
        return jnp.concatenate([self.param(name, nn.initializers.zeros_init(), (1,)) for name in sorted(self.losses)])
