"""Heads: Tokens -> the outputs of one task. What they pool is zero where no token is there, so outputs are always finite.

Some have nothing to do with the tokens: the numbers that a loss learns (`Temperature`, `Bias`, `LogVariances`) are heads so
that they are parameters like all others. They stand in `heads` under the name by which the loss asks for them.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from mmjax.nn import masked_mean
from mmjax.types import Tokens


class Classifier(nn.Module):
    """Mean token -> float32 logits [b classes]; their softmax is the probability of each class.

    hidden: widths of fully connected layers with ReLU before the last one. `Classifier(2, hidden=(64,))` over fused tokens is
    the head of matching: do this picture and these words belong together?
    """

    classes: int
    hidden: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b classes"]:
        x = masked_mean(tokens).astype(jnp.float32)
        for layer, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width, name=f"hidden{layer}")(x))
        return nn.Dense(self.classes, name="dense")(x)


class MultiLabel(nn.Module):
    """Mean token -> float32 logits [b labels]; the sigmoid of each is the probability of that label, apart from the others."""

    labels: int

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b labels"]:
        return nn.Dense(self.labels, name="dense")(masked_mean(tokens).astype(jnp.float32))


class Regressor(nn.Module):
    """Mean token -> float32 numbers [b outputs], in units of the target: W h + b."""

    outputs: int = 1

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b outputs"]:
        return nn.Dense(self.outputs, name="dense")(masked_mean(tokens).astype(jnp.float32))


class Ordinal(nn.Module):
    """Mean token h -> float32 log-probabilities [b classes] of classes that have an order (proportional odds).

        P(class <= k) = sigmoid(t_k - w . h), with thresholds t_0 < t_1 < ... < t_(classes - 2)

    McCullagh, "Regression models for ordinal data", 1980. The probabilities add up to one, so cross-entropy on
    this output is the model's likelihood. The thresholds start where all classes are equally probable for h = 0.
    """

    classes: int

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b classes"]:
        if self.classes < 2:
            raise ValueError(f"Ordinal.classes is {self.classes}; an order needs at least 2")
        score = nn.Dense(1, use_bias=False, name="dense")(masked_mean(tokens).astype(jnp.float32))
        share = np.arange(1, self.classes) / self.classes
        start = np.log(share / (1 - share)).astype(np.float32)  # logits of 1/K, 2/K, ...
        thresholds = self.param("first", nn.initializers.constant(start[0]), (1,))
        inner = jnp.zeros((1, 0))
        if self.classes > 2:
            raw = self.param("gaps", lambda key, shape: jnp.log(jnp.expm1(jnp.asarray(np.diff(start)))), (self.classes - 2,))
            gaps = nn.softplus(raw) + 1e-6  # above 0 whatever the parameter: no class is ever impossible
            thresholds = jnp.concatenate([thresholds, thresholds + jnp.cumsum(gaps)])
            # sigmoid(a) - sigmoid(c) = sigmoid(a) sigmoid(-c) (1 - e^(c - a)): in logarithms nothing cancels
            inner = jnp.log(-jnp.expm1(-gaps))[None, :]
        z = thresholds[None, :] - score
        below, above = nn.log_sigmoid(z), nn.log_sigmoid(-z)
        return jnp.concatenate([below[:, :1], below[:, 1:] + above[:, :-1] + inner, above[:, -1:]], axis=-1)


class Mean(nn.Module):
    """The mean token itself, [b d], float32: for fusions whose tokens are outputs already, such as `MeanLogits`."""

    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b d"]:
        return masked_mean(tokens).astype(jnp.float32)


class Projection(nn.Module):
    """Mean token h -> W h / |W h|, float32 [b width]: an embedding of length one, to be compared by dot products.

    Zeros where h is zero, as it is without any token; the gradient is finite there too. width: None for h / |h| itself.
    bias: W h + b instead, which is b without any token.
    """

    width: int | None = 64
    bias: bool = False

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b width"]:
        x = masked_mean(tokens).astype(jnp.float32)
        if self.width is not None:
            x = nn.Dense(self.width, use_bias=self.bias, name="dense")(x)
        return x * lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-12))


def _rows(tokens: Tokens) -> int:
    return tokens.mask.shape[0]


class Temperature(nn.Module):
    """One learned temperature t > 0, [b 1], for `InfoNCE` and `SigmoidPairs`: similarities are divided by it.

    The parameter is log(1 / t). CLIP (Radford et al., 2021, section 2.5) starts at 0.07 and lets 1 / t grow to 100 at most, so
    smallest = 0.01; SigLIP (Zhai et al., 2023) starts at 0.1. Beyond the limit the value stays and the gradient passes, so that
    the parameter can come back.
    """

    start: float = 0.07
    smallest: float = 0.01

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b 1"]:
        if not 0 < self.smallest <= self.start:
            raise ValueError(
                f"Temperature.start is {self.start} and Temperature.smallest {self.smallest}; it must be 0 < smallest <= start"
            )
        scale = self.param("log_scale", nn.initializers.constant(float(-np.log(self.start))), (1,))
        limited = scale + lax.stop_gradient(jnp.minimum(scale, float(-np.log(self.smallest))) - scale)
        return jnp.broadcast_to(jnp.exp(-limited)[None, :], (_rows(tokens), 1))


class Bias(nn.Module):
    """One learned number, [b 1]: what `SigmoidPairs` adds to its logits. SigLIP (Zhai et al., 2023) starts it at -10."""

    start: float = -10.0

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b 1"]:
        return jnp.broadcast_to(self.param("bias", nn.initializers.constant(self.start), (1,))[None, :], (_rows(tokens), 1))


class LogVariances(nn.Module):
    """s_t = log sigma_t^2 of each task, [b tasks], columns in the order of the sorted names; for the loss `Uncertainty`.

    Kendall, Gal and Cipolla, CVPR 2018. It stands in `heads` as "log_variance", and starts at 0, where all tasks weigh alike.
    """

    tasks: tuple[str, ...]

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b tasks"]:
        if len(set(self.tasks)) != len(self.tasks) or not self.tasks:
            raise ValueError(f"LogVariances.tasks is {self.tasks}; it must name at least one task, and each once")
        s = [self.param(task, nn.initializers.zeros_init(), (1,)) for task in sorted(self.tasks)]
        return jnp.broadcast_to(jnp.concatenate(s)[None, :], (_rows(tokens), len(s)))


class EachToken(nn.Module):
    """Any head at every token by itself, with the same parameters: outputs [b n ...] for targets [b n], one a step."""

    head: nn.Module

    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b n ..."]:
        b, n = tokens.mask.shape
        outputs = self.head(Tokens(tokens.x.reshape(b * n, 1, -1), tokens.mask.reshape(b * n, 1)), train=train)
        return outputs.reshape(b, n, *outputs.shape[1:])
