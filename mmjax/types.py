"""The contracts: what flows between the modules of mmjax, and what each kind of module promises.

    source -> example -> transforms -> Batch -> encoders -> Tokens -> fusion -> heads -> losses -> step -> ...

Everything here is a plain pytree or a Protocol. A user's own encoder, fusion, head or loss needs no base class and no
registration: whatever has the signature is one.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Key


@struct.dataclass
class Tokens:
    """What an encoder or a fusion returns: n vectors per example, and which of them are there.

    x: Float[b n d], the vectors (dimensionless). Where `mask` is False a value means nothing and must not be used.
    mask: Bool[b n]. One token (n = 1) is fine: a pooled feature.
    """

    x: Any
    mask: Any


@struct.dataclass
class Padded:
    """An input of varying length, padded at the end to a common one: words, audio frames, sensor readings, video.

    x: [b n ...]; length: Int[b], how many of the n steps are real. What lies beyond `length` must not be used.
    """

    x: Any
    length: Any

    @property
    def mask(self) -> Bool[Array, "b n"]:
        """Bool[b n], True on real steps."""
        return jnp.arange(self.x.shape[1])[None, :] < self.length[:, None]


@struct.dataclass
class Batch:
    """Examples side by side; a plain pytree, whose every leaf leads with the batch dimension b.

    inputs: {modality: array [b ...] or Padded}. Where a modality is absent its values may be anything, even NaN.
    present: {modality: Bool[b]}, the same names as `inputs`.
    targets: {name: array [b ...]}.
    weight: Float[b], how much an example counts in losses and metrics; 0 marks padding.
    """

    inputs: Mapping[str, Any]
    present: Mapping[str, Any]
    targets: Mapping[str, Any]
    weight: Any


@runtime_checkable
class Encoder(Protocol):
    """One modality's array(s) -> Tokens. `train` switches dropout on, from the rng stream "dropout".

    An encoder with batch statistics takes `present: Bool[b] | None = None` as well: which examples have the modality, since
    the others arrive as zeros and must not count.
    """

    def __call__(self, x: Any, *, train: bool = False) -> Tokens: ...


@runtime_checkable
class Fusion(Protocol):
    """{modality: Tokens} -> Tokens. An absent modality arrives with a mask that is False throughout."""

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens: ...


@runtime_checkable
class Head(Protocol):
    """Tokens -> outputs of one task, such as Float[b classes] logits."""

    def __call__(self, tokens: Tokens, *, train: bool = False) -> Array: ...


@runtime_checkable
class Loss(Protocol):
    """({name: outputs}, batch) -> Float[b], one value per example, in nats for likelihoods; or {task: Float[b]}, of which the
    step trains on the sum unless a balance says otherwise."""

    def __call__(
        self, outputs: Mapping[str, Array], batch: Batch
    ) -> Float[Array, " b"] | Mapping[str, Float[Array, " b"]]: ...


@runtime_checkable
class Balance(Protocol):
    """How the losses of several tasks become one gradient (`train.balance` has some).

    objective: params -> ({task: Float[]}, aux), this shard's part of each task's mean loss, and aux = (outputs, statistics).
    Gives (loss, gradient, aux, state), loss and gradient summed over shards; the state is a pytree of its own.
    """

    def init(self, params: Any) -> Any: ...

    def __call__(self, objective: Any, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> Any: ...


@runtime_checkable
class Augment(Protocol):
    """(batch, key) -> batch, drawn anew each training step; the identity when its rate is zero."""

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch: ...


@runtime_checkable
class Optimizer(Protocol):
    """Number of training steps -> an optax transformation, schedule included."""

    def __call__(self, steps: int) -> Any: ...
