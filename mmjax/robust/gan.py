"""A conditional GAN of feature vectors, trained on fixed arrays in one compiled program."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from mmjax.nn.adversarial import (
    Hinge,
    Perceptron,
    Players,
    ProjectionDiscriminator,
    initial_vectors,
    moving_average,
    player_losses,
    spectral_normalized,
)

__all__ = ["ConditionalGAN", "GANState", "train"]


@struct.dataclass
class GANState:
    """generator, discriminator: parameters. average: the moving average of the generator's. vectors: of the spectral norms."""

    generator: Any
    discriminator: Any
    average: Any
    vectors: Any
    opt_state: Any


@dataclass(frozen=True)
class ConditionalGAN:
    """x = G(z, c) with z ~ N(0, I) against D(x, c), with the class c as a one-hot vector (Mirza and Osindero, 2014).

    G is a perceptron of [z; c], and D a `ProjectionDiscriminator`.
    Features are standardised before training, with one mean and deviation for each. Both players take a step of Adam with
    betas (0, 0.99) on the same batch; D has the larger learning rate (Heusel et al., 2017).

    noise: dimension of z. hidden: widths of the hidden layers of both networks. loss: `Hinge()` or `NonSaturating()`. r1:
    weight gamma of the R1 penalty, 0 for none. spectral: whether the kernels of D have spectral norm 1. decay: of the average
    of G that is sampled. lr, lr_discriminator: learning rates. steps: of training. batch: examples of a step.
    """

    noise: int = 32
    hidden: tuple[int, ...] = (256,)
    loss: Any = Hinge()
    r1: float = 0.1
    spectral: bool = True
    decay: float = 0.995
    lr: float = 2e-4
    lr_discriminator: float = 5e-4
    steps: int = 3000
    batch: int = 64

    def __post_init__(self):
        for name, low in (("noise", 1), ("steps", 1), ("batch", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"ConditionalGAN.{name} is {getattr(self, name)}; it must be at least {low}")
        if self.r1 < 0 or not 0 <= self.decay < 1:
            raise ValueError(f"ConditionalGAN: r1 is {self.r1} and decay is {self.decay}; valid are r1 >= 0, 0 <= decay < 1")

    def networks(self, width: int) -> tuple[Perceptron, ProjectionDiscriminator]:
        """(G, D) for features of this width."""
        return Perceptron(width, self.hidden), ProjectionDiscriminator(self.hidden)

    def optimizer(self) -> optax.GradientTransformation:
        """Adam for both players."""
        adam = {name: optax.adam(lr, b1=0.0, b2=0.99) for name, lr in (("g", self.lr), ("d", self.lr_discriminator))}
        return optax.multi_transform(adam, {"g": "g", "d": "d"})

    def init(self, key: Key[Array, ""], width: int, classes: int) -> GANState:
        """The state before training. width: of the features. classes: of the condition."""
        g, d = self.networks(width)
        keys = jax.random.split(key)
        z, c, x = jnp.zeros((1, self.noise)), jnp.zeros((1, classes)), jnp.zeros((1, width))
        generator, discriminator = g.init(keys[0], z, c)["params"], d.init(keys[1], x, c)["params"]
        opt_state = self.optimizer().init({"g": generator, "d": discriminator})
        return GANState(generator, discriminator, generator, initial_vectors(discriminator), opt_state)

    def losses(
        self, generator: Any, discriminator: Any, vectors: Any, x: Float[Array, "b d"], c: Float[Array, "b c"], z: Array
    ) -> tuple[Players, Any]:
        """(per-example losses of both players, the next vectors of the spectral norms)."""
        g, d = self.networks(x.shape[-1])
        if self.spectral:
            discriminator, vectors = spectral_normalized(discriminator, vectors)
        generate = lambda params: g.apply({"params": params}, z, c)
        score = lambda params, x: d.apply({"params": params}, x, c)
        return player_losses(generate, score, generator, discriminator, x, self.loss, self.r1), vectors

    def step(self, state: GANState, x: Float[Array, "b d"], c: Float[Array, "b c"], key: Key[Array, ""]) -> GANState:
        """One step of both players."""
        z = jax.random.normal(key, (x.shape[0], self.noise))

        def total(players):
            losses, vectors = self.losses(players["g"], players["d"], state.vectors, x, c, z)
            return losses.discriminator.mean() + losses.generator.mean(), vectors

        players = {"g": state.generator, "d": state.discriminator}
        gradient, vectors = jax.grad(total, has_aux=True)(players)
        updates, opt_state = self.optimizer().update(gradient, state.opt_state, players)
        players = optax.apply_updates(players, updates)
        average = moving_average(state.average, players["g"], self.decay)
        return GANState(players["g"], players["d"], average, vectors, opt_state)

    def fit(self, x: np.ndarray, label: np.ndarray, classes: int, seed: int = 0) -> Callable[[np.ndarray, int], np.ndarray]:
        """Trains on features x Float[n d] of classes Int[n] in [0, classes), and returns (labels Int[m], seed) -> Float32[m d].

        ValueError if x is not a matrix of finite numbers, or there are no examples.
        """
        x = np.asarray(x, np.float32)
        if x.ndim != 2 or not len(x) or not np.isfinite(x).all():
            raise ValueError(f"ConditionalGAN.fit needs finite features [n d] with n >= 1, but they have shape {x.shape}")
        mean, deviation = x.mean(axis=0), x.std(axis=0)
        deviation = np.where(deviation > 1e-6 * np.abs(x).max(axis=0), deviation, 1).astype(np.float32)
        scaled, labels = jnp.asarray((x - mean) / deviation), jnp.asarray(label, jnp.int32)
        state = train(self, scaled, labels, classes, jax.random.key(seed))
        generator, _ = self.networks(x.shape[1])

        def sample(label: np.ndarray, seed: int) -> np.ndarray:
            z = jax.random.normal(jax.random.key(seed), (len(label), self.noise))
            drawn = generator.apply({"params": state.average}, z, jax.nn.one_hot(jnp.asarray(label), classes))
            return np.asarray(drawn) * deviation + mean

        return sample


@partial(jax.jit, static_argnames=("gan", "classes"))
def train(
    gan: ConditionalGAN, x: Float[Array, "n d"], label: Int[Array, " n"], classes: int, key: Key[Array, ""]
) -> GANState:
    """The state after all steps on standardised features."""
    init_key, steps_key = jax.random.split(key)

    def one(state, number):
        rows_key, noise_key = jax.random.split(jax.random.fold_in(steps_key, number))
        rows = jax.random.randint(rows_key, (gan.batch,), 0, x.shape[0])
        return gan.step(state, x[rows], jax.nn.one_hot(label[rows], classes), noise_key), None

    return jax.lax.scan(one, gan.init(init_key, x.shape[1], classes), jnp.arange(gan.steps))[0]
