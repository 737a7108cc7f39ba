"""Generative adversarial networks as pure functions: losses of the two players, penalties, spectral norms and averages.

A generator G and a discriminator D are functions of their parameters. The loss of each player has gradient zero with respect to
the parameters of the other, so that one gradient of the sum trains both (Goodfellow et al., 2014, with simultaneous steps).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from mmjax.nn.checks import positive

__all__ = [
    "AdversarialLoss",
    "Hinge",
    "NonSaturating",
    "Perceptron",
    "Players",
    "ProjectionDiscriminator",
    "initial_vectors",
    "moving_average",
    "player_losses",
    "r1_penalty",
    "spectral_normalized",
]


class Perceptron(nn.Module):
    """Dense layers with leaky ReLU (slope 0.2) on the concatenation of its inputs, then a dense layer: Float[b width].

    width: of the output. hidden: widths of the hidden layers.
    """

    width: int
    hidden: tuple[int, ...] = (256,)

    @nn.compact
    def __call__(self, *inputs: Float[Array, "b _"]) -> Float[Array, "b width"]:
        positive(self, "width", "hidden")
        x = jnp.concatenate(inputs, axis=-1)
        for layer, width in enumerate(self.hidden):
            x = nn.leaky_relu(nn.Dense(width, name=f"hidden{layer}")(x), 0.2)
        return nn.Dense(self.width, name="dense")(x)


class ProjectionDiscriminator(nn.Module):
    """w h(x) + b + <V c, h(x)>, Float[b], with h a perceptron (Miyato and Koyama, 2018, equation 8): scores of x given c.

    hidden: widths of the layers of h, with leaky ReLU (slope 0.2).
    """

    hidden: tuple[int, ...] = (256,)

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], c: Float[Array, "b c"]) -> Float[Array, " b"]:
        h = nn.leaky_relu(Perceptron(self.hidden[-1], self.hidden[:-1], name="trunk")(x), 0.2)
        projected = nn.Dense(h.shape[-1], use_bias=False, name="condition")(c)
        return nn.Dense(1, name="dense")(h)[:, 0] + jnp.sum(projected * h, axis=-1)


@runtime_checkable
class AdversarialLoss(Protocol):
    """The losses of both players as functions of the discriminator's scores Float[b], without a sigmoid."""

    def discriminator(self, real: Float[Array, " b"], generated: Float[Array, " b"]) -> Float[Array, " b"]: ...

    def generator(self, generated: Float[Array, " b"]) -> Float[Array, " b"]: ...


@dataclass(frozen=True)
class Hinge:
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))) and -D(G(z)) (Lim and Ye, 2017; Miyato et al., 2018, equations 16 and 17)."""

    def discriminator(self, real: Float[Array, " b"], generated: Float[Array, " b"]) -> Float[Array, " b"]:
        """Zero once real scores are at least 1 and generated scores are at most -1."""
        return jnp.maximum(1 - real, 0) + jnp.maximum(1 + generated, 0)

    def generator(self, generated: Float[Array, " b"]) -> Float[Array, " b"]:
        """The negative score."""
        return -generated


@dataclass(frozen=True)
class NonSaturating:
    """-log s(D(x)) - log(1 - s(D(G(z)))) and -log s(D(G(z))) in nats, s the sigmoid (Goodfellow et al., 2014, section 3)."""

    def discriminator(self, real: Float[Array, " b"], generated: Float[Array, " b"]) -> Float[Array, " b"]:
        """The cross-entropy of both scores with the labels real and generated."""
        return jax.nn.softplus(-real) + jax.nn.softplus(generated)

    def generator(self, generated: Float[Array, " b"]) -> Float[Array, " b"]:
        """The cross-entropy of generated scores with the label real."""
        return jax.nn.softplus(-generated)


def r1_penalty(score: Callable[[Array], Array], x: Float[Array, "b d"]) -> Float[Array, " b"]:
    """||grad D(x)||^2 of each example (Mescheder et al., 2018, equation 9, without the factor gamma / 2).

    score: x [b d] -> Float[b], where the score of an example depends on this example alone.
    """
    return jnp.sum(jnp.square(jax.grad(lambda x: score(x).sum())(x)), axis=-1)


class Players(NamedTuple):
    """Per-example losses of both players, and the generated features Float[b d], without a gradient."""

    discriminator: Any
    generator: Any
    generated: Any


def player_losses(
    generate: Callable[[Any], Array],
    score: Callable[[Any, Array], Array],
    generator: Any,
    discriminator: Any,
    real: Float[Array, "b d"],
    loss: AdversarialLoss,
    r1: float = 0.0,
) -> Players:
    """The losses of both players on one batch.

    generate: parameters -> features [b d]. score: (parameters, features [b d]) -> Float[b]. generator, discriminator: their
    parameters. real: features of the data. r1: gamma, the weight of the R1 penalty on real features, 0 for none.
    """
    features = generate(generator)
    fixed = jax.lax.stop_gradient(features)
    of_discriminator = loss.discriminator(score(discriminator, real), score(discriminator, fixed))
    if r1:
        of_discriminator += r1 / 2 * r1_penalty(lambda x: score(discriminator, x), real)
    of_generator = loss.generator(score(jax.lax.stop_gradient(discriminator), features))
    return Players(of_discriminator, of_generator, fixed)


def _kernels(params: Any) -> dict[str, Any]:
    """{path: kernel [in out]} of dense layers."""
    return {path: leaf for path, leaf in flatten_dict(dict(params), sep="/").items() if path.endswith("kernel")}


def initial_vectors(params: Any) -> dict[str, Any]:
    """The start of the power iteration for `spectral_normalized`, one vector Float[out] for each kernel [in out]."""
    start = lambda width: jax.random.normal(jax.random.key(0), (width,)) / jnp.sqrt(width)
    return unflatten_dict({path: start(kernel.shape[1]) for path, kernel in _kernels(params).items()}, sep="/")


def spectral_normalized(params: Any, vectors: Any, iterations: int = 1) -> tuple[Any, Any]:
    """(parameters with each kernel W [in out] divided by its largest singular value, the next vectors).

    Miyato et al., 2018, algorithm 1: v = W u / ||W u||, u = W^T v / ||W^T v||, and sigma = v^T W u, whose gradient treats u and
    v as constants. vectors: from `initial_vectors`, or of the previous step. iterations: of the power method.
    """
    flat, start = flatten_dict(dict(params), sep="/"), flatten_dict(dict(vectors), sep="/")
    unit = lambda x: x / jnp.maximum(jnp.linalg.norm(x), 1e-12)
    found = {}
    for path, kernel in _kernels(params).items():
        fixed, u = jax.lax.stop_gradient(kernel), start[path]
        for _ in range(iterations):
            v = unit(fixed @ u)
            u = unit(fixed.T @ v)
        flat[path] = kernel / jnp.maximum(v @ kernel @ u, 1e-12)
        found[path] = u
    return unflatten_dict(flat, sep="/"), unflatten_dict(found, sep="/")


def moving_average(average: Any, params: Any, decay: float) -> Any:
    """decay * average + (1 - decay) * params, leaf by leaf: the average of a generator (Yazici et al., 2019)."""
    return jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), average, params)
