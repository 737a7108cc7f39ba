"""An imputer trained against a discriminator."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, UInt32

from mmjax.fusion.imputers import COLLECTION, condition, kept, learns, needs_two
from mmjax.nn.adversarial import (
    Hinge,
    Perceptron,
    initial_vectors,
    moving_average,
    player_losses,
    spectral_normalized,
)
from mmjax.nn.checks import positive, rate
from mmjax.shards import example_keys, sum_over_shards

__all__ = ["GANImputer"]


class GANImputer(nn.Module):
    """A conditional GAN for each modality: G(z, c) predicts it from the present ones, c, and D(x, c) judges it.

    Missing modalities are filled in by the moving average of G, with z ~ N(0, I) in training and z = 0 in evaluation. The loss
    "discriminator" trains D, and "generator" trains G; each is the mean over the present modalities, and has gradient zero with
    respect to the other player. The average follows G while G learns: a stage that freezes the imputer adds the final G once,
    and then the average stays. Conditional GANs are those of Mirza and Osindero (2014); as an imputer, compare GAIN (Yoon et
    al., 2018). The collection "imputer" also has the moving averages `{modality}_spread`; see `robust.gan_collapse`.

    noise: dimension of z. hidden: widths of the hidden layers of G and D. loss: `Hinge()` or `NonSaturating()`. r1: weight
    gamma of the R1 penalty. spectral: whether the kernels of D have spectral norm 1. squared_error: weight of the mean squared
    error of G, as the L1 term of pix2pix (Isola et al., 2017); 0 for the adversarial loss alone. decay: of the average of G.
    hide: probability that a present modality is hidden from the condition in training.
    """

    noise: int = 16
    hidden: tuple[int, ...] = (256,)
    loss: Any = Hinge()
    r1: float = 0.1
    spectral: bool = True
    squared_error: float = 0.0
    decay: float = 0.98
    hide: float = 0.3

    @nn.compact
    def __call__(
        self, vectors: Mapping[str, Float[Array, "b _"]], present: Mapping[str, Bool[Array, " b"]], *, train: bool = False
    ) -> tuple[dict[str, Float[Array, "b _"]], dict[str, Float[Array, " b"]]]:
        positive(self, "noise", "hidden")
        rate(self, "hide")
        rate(self, "decay")
        needs_two(self, list(vectors))
        key = self.make_rng("dropout") if train else None
        count = jnp.maximum(sum(valid.astype(jnp.float32) for valid in present.values()), 1)
        out, players = {}, [jnp.zeros(count.shape), jnp.zeros(count.shape)]
        for name in sorted(vectors):
            c = condition(vectors, kept(present, name, self.hide, key))
            noise_key = None if key is None else jax.random.fold_in(key, sorted(vectors).index(name) + len(vectors))
            out[name], losses = self._one(name, vectors[name], present[name], c, noise_key)
            for number, values in enumerate(losses):
                players[number] += jnp.where(present[name], values, 0) / count
        return out, {"discriminator": players[0], "generator": players[1]}

    def _one(
        self, name: str, x: Float[Array, "b d"], valid: Bool[Array, " b"], c: Float[Array, "b c"], key: Key[Array, ""] | None
    ) -> tuple[Float[Array, "b d"], tuple]:
        """(the imputed modality, per-example losses (D, G))."""
        g, d = Perceptron(x.shape[1], self.hidden, parent=None), Perceptron(1, self.hidden, parent=None)
        z0 = jnp.zeros((x.shape[0], self.noise))
        generator = self.param(f"{name}_generator", lambda key: dict(g.init(key, z0, c)["params"]))
        discriminator = self.param(f"{name}_discriminator", lambda key: dict(d.init(key, x, c)["params"]))
        average = self.variable(COLLECTION, f"{name}_average", lambda: generator)
        vectors = self.variable(COLLECTION, f"{name}_vectors", lambda: initial_vectors(discriminator))
        spread = self.variable(COLLECTION, f"{name}_spread", jnp.zeros, (3,))
        digest = self.variable(COLLECTION, f"{name}_digest", jnp.zeros, (), jnp.uint32)  # of the last G in the average
        impute = lambda z: g.apply({"params": average.value}, z, c)
        if key is None:
            return impute(z0), ()

        keys = example_keys(key, x.shape[0])
        draw = lambda number: jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, number), (self.noise,)))(keys)
        normal, updated = (discriminator, vectors.value)
        if self.spectral:
            normal, updated = spectral_normalized(discriminator, vectors.value)
        z = draw(0)
        generate = lambda params: g.apply({"params": params}, z, c)
        score = lambda params, x: d.apply({"params": params}, x, c)[:, 0]
        found = player_losses(generate, score, generator, normal, x, self.loss, self.r1)
        of_generator = found.generator
        if self.squared_error:
            of_generator += self.squared_error * jnp.square(generate(generator) - x).mean(axis=-1)
        if learns(self, True):
            new = jax.lax.stop_gradient(generator)
            moved = digest.value != _digest(new)
            following = moving_average(average.value, new, self.decay)
            average.value = jax.tree.map(lambda a, b: jnp.where(moved, a, b), following, average.value)
            digest.value = _digest(new)
            vectors.value = updated
            again = jax.lax.stop_gradient(g.apply({"params": generator}, draw(1), c))
            spread.value = moving_average(spread.value, _spread(x, found.generated, again, valid), self.decay)
        return impute(draw(2)), (found.discriminator, of_generator)


def _digest(tree: Any) -> UInt32[Array, ""]:
    """The sum of the bits of all float32 arrays modulo 2^32, in any order: it changes if a parameter does."""
    bits = [jax.lax.bitcast_convert_type(leaf, jnp.uint32) for leaf in jax.tree.leaves(tree)]
    return sum(jnp.sum(leaf, dtype=jnp.uint32) for leaf in bits)


def _spread(
    real: Float[Array, "b d"], generated: Float[Array, "b d"], again: Float[Array, "b d"], valid: Bool[Array, " b"]
) -> Float[Array, "3"]:
    """Variances over the whole batch, summed over features: of real examples, of generated ones, and due to z alone.

    again: generated with another z. The third is half of the mean squared difference.
    """
    weight = valid.astype(jnp.float32)[:, None]
    total = jnp.maximum(sum_over_shards(weight.sum()), 1)

    def variance(x):
        mean = sum_over_shards((weight * x).sum(axis=0)) / total
        return sum_over_shards((weight * jnp.square(x - mean[None])).sum()) / total

    by_noise = sum_over_shards((weight * jnp.square(generated - again)).sum()) / total / 2
    return jnp.stack([variance(real), variance(generated), by_noise])
