"""Mixtures of two examples and of their labels: Int[b] targets become Float[b classes] distributions.

The partner of an example is drawn from the whole batch, even if the batch is split over devices. Two examples are mixed only if
all of the named modalities are present in both; padding (weight 0) is never mixed. Modalities that are not named do not change
although the label does, so name every modality that determines the label, or drop the others.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from mmjax.shards import example_keys, gather_over_shards, shard_index
from mmjax.types import Batch

__all__ = ["CutMix", "MixUp", "distribution", "rectangle"]


@dataclass(frozen=True)
class MixUp:
    """lambda x + (1 - lambda) x' for the inputs and the label, lambda ~ Beta(alpha, alpha) (Zhang et al., 2018, section 2).

    classes: the number of classes of the target. alpha: of the distribution; 0 for the identity, 1 for a uniform lambda.
    target: the name of the label. modalities: arrays of floats [b ...], mixed with the same lambda. Each example has its own
    lambda and partner. Weights and other targets do not change. Raises ValueError if a modality is not an array of floats.
    """

    classes: int
    alpha: float = 0.2
    target: str = "label"
    modalities: tuple[str, ...] = ("image",)

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        if not self.alpha or not set(self.modalities) <= set(batch.inputs):
            return batch
        partner, share, together = _drawn(batch, key, self.modalities, self.alpha)
        share = jnp.where(together, share, 1)
        inputs = {name: _mixed(batch.inputs[name], partner, share) for name in self.modalities}
        target = _mixed(distribution(batch.targets[self.target], self.classes), partner, share)
        return batch.replace(inputs={**batch.inputs, **inputs}, targets={**batch.targets, self.target: target})


@dataclass(frozen=True)
class CutMix:
    """Pastes a rectangle of the partner's image [b h w c], and mixes the label by area (Yun et al., 2019, equation 1).

    classes: the number of classes of the target. alpha: the rectangle covers the share 1 - lambda of the area, lambda ~
    Beta(alpha, alpha). Its centre is uniform, it is clipped to the image, and the label is mixed by the share of pasted pixels.
    alpha 0: the identity. Each example has its own lambda, rectangle and partner. Weights and other targets do not change.
    Raises ValueError if the modality is not an array of floats.
    """

    classes: int
    alpha: float = 1.0
    target: str = "label"
    modality: str = "image"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        if not self.alpha or self.modality not in batch.inputs:
            return batch
        image = batch.inputs[self.modality]
        draw_key, place_key = jax.random.split(key)
        partner, share, together = _drawn(batch, draw_key, (self.modality,), self.alpha)
        size = image.shape[1:3]
        cut = jax.vmap(lambda key, share: rectangle(key, size, share))(example_keys(place_key, image.shape[0]), share)
        cut = cut & together[:, None, None]
        share = 1 - jnp.mean(cut, axis=(1, 2))
        target = _mixed(distribution(batch.targets[self.target], self.classes), partner, share)
        pasted = jnp.where(cut[..., None], gather_over_shards(image)[partner], image)
        return batch.replace(inputs={**batch.inputs, self.modality: pasted}, targets={**batch.targets, self.target: target})


def distribution(target: Int[Array, " b"] | Float[Array, "b c"], classes: int) -> Float[Array, "b c"]:
    """Classes as one-hot vectors, zeros for a missing class (-1). Distributions are returned unchanged."""
    return target if target.ndim == 2 else jax.nn.one_hot(target, classes)


def rectangle(key: Key[Array, ""], size: tuple[int, int], share: Float[Array, ""]) -> Bool[Array, "h w"]:
    """True in a random rectangle with the image's aspect ratio and 1 - share of its area, clipped to the image."""
    ends = []
    for place_key, length in zip(jax.random.split(key), size):
        side = (length * jnp.sqrt(1 - share)).astype(jnp.int32)
        start = jax.random.randint(place_key, (), 0, length) - side // 2
        position = jnp.arange(length)
        ends.append((start <= position) & (position < start + side))
    return ends[0][:, None] & ends[1][None]


def _drawn(
    batch: Batch, key: Key[Array, ""], modalities: tuple[str, ...], alpha: float
) -> tuple[Int[Array, " b"], Float[Array, " b"], Bool[Array, " b"]]:
    """(the position of each example's partner in the whole batch, lambda, True where both have all of the modalities)."""
    for name in modalities:
        if not jnp.issubdtype(getattr(batch.inputs[name], "dtype", None) or jnp.int32, jnp.floating):
            raise ValueError(f"{name!r} cannot be mixed; its inputs must be arrays of floats")
    partner_key, share_key = jax.random.split(key)
    valid = batch.weight > 0
    for name in modalities:
        valid = valid & batch.present[name]
    count, all_valid = valid.shape[0], gather_over_shards(valid)
    order = jax.random.permutation(partner_key, all_valid.shape[0])
    partner = jax.lax.dynamic_slice(order, (shard_index() * count,), (count,))
    share = jax.vmap(lambda key: jax.random.beta(key, alpha, alpha))(example_keys(share_key, count))
    return partner, share, valid & all_valid[partner]


def _mixed(x: Float[Array, "b ..."], partner: Int[Array, " b"], share: Float[Array, " b"]) -> Float[Array, "b ..."]:
    """share x + (1 - share) x[partner]; exactly x, also with NaN in x[partner], if the share is 1."""
    share = share.reshape(-1, *(1,) * (x.ndim - 1))
    return jnp.where(share < 1, share * x + (1 - share) * gather_over_shards(x)[partner], x)
