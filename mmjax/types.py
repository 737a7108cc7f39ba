"""The contracts of mmjax: the values that pass between modules, and a Protocol for each kind of module.

    source -> example -> transforms -> Batch -> encoders -> Tokens -> fusion -> heads, decoders -> losses -> step -> checkpoint
    -> tasks -> outcomes -> intervals -> report

A user's own encoder, fusion, head, loss or task needs no base class and no registration: the right signature is enough.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped

__all__ = [
    "Attack", "Augment", "Aux", "Batch", "Compression", "Declared", "Encoder", "Fusion", "Gradient", "Head", "Loss", "Metric",
    "Objective", "Optimizer", "Outcomes", "Padded", "SeparableObjective", "Subset", "Task", "Tokens", "Units", "Values",
]

_T = TypeVar("_T")
if TYPE_CHECKING:
    Declared = Annotated[_T, "declared"]
else:

    class Declared:
        """`Declared[T]` is T for editors and type checkers. At run time it is anything: fields also hold tracers and shapes."""

        def __class_getitem__(cls, declared: Any) -> Any:
            return Annotated[Any, declared]


@struct.dataclass
class Tokens:
    """The output of an encoder or a fusion: n vectors per example and a mask.

    x: Float[b n d] (dimensionless). Values where `mask` is False are undefined and must not be used.
    mask: Bool[b n], True for valid tokens. A pooled feature is a single token (n = 1).
    """

    x: Declared[Float[Array, "b n d"]]
    mask: Declared[Bool[Array, "b n"]]


@struct.dataclass
class Padded:
    """Inputs of varying length, padded at the end to a common length: token ids, audio frames, sensor readings, video.

    x: [b n ...]; length: Int[b], the number of valid steps. Values beyond `length` must not be used.
    """

    x: Declared[Shaped[Array, "b n ..."]]
    length: Declared[Int[Array, " b"]]

    @property
    def mask(self) -> Bool[Array, "b n"]:
        """Bool[b n], True on valid steps."""
        return jnp.arange(self.x.shape[1])[None, :] < self.length[:, None]


@struct.dataclass
class Batch:
    """A batch of examples: a plain pytree in which every leaf leads with the batch dimension b.

    inputs: {modality: array [b ...], Padded or another pytree of arrays}. Values of an absent modality may be anything, even
    NaN. present: {modality: Bool[b]}, with the same names as `inputs`. targets: {name: array [b ...]}.
    weight: Float[b], the weight of each example in losses and metrics; 0 marks padding.
    """

    inputs: Declared[Mapping[str, PyTree[Shaped[Array, "b ..."]]]]
    present: Declared[Mapping[str, Bool[Array, " b"]]]
    targets: Declared[Mapping[str, Shaped[Array, "b ..."]]]
    weight: Declared[Float[Array, " b"]]


@runtime_checkable
class Encoder(Protocol):
    """One modality's array(s) -> Tokens. `train` enables dropout, from the rng stream "dropout".

    An encoder with batch statistics declares `takes_present = True` (a class attribute or property) and accepts
    `present: Bool[b]` as well: absent examples arrive as zeros and must not enter the statistics.
    """

    def __call__(self, x: Any, *, train: bool = False) -> Tokens: ...


@runtime_checkable
class Fusion(Protocol):
    """{modality: Tokens} -> Tokens. The mask of an absent modality is False everywhere."""

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens: ...


@runtime_checkable
class Head(Protocol):
    """Tokens -> outputs, such as Float[b classes] logits."""

    def __call__(self, tokens: Tokens, *, train: bool = False) -> Array: ...


@runtime_checkable
class Loss(Protocol):
    """({name: outputs}, batch) -> Float[b], one value per example, in nats for likelihoods; or {name: Float[b]} for several
    losses, whose sum is minimised unless a `Gradient` combines them otherwise."""

    def __call__(
        self, outputs: Mapping[str, Array], batch: Batch
    ) -> Float[Array, " b"] | Mapping[str, Float[Array, " b"]]: ...


class Aux(NamedTuple):
    """The second result of an `Objective`.

    outputs: {name: outputs}. stats: the updated variables that are not parameters, such as batch statistics.
    losses: {loss name: Float[]}, this shard's part of each mean loss. values: {loss name: Float[b]}, the loss of each example.
    """

    outputs: Mapping[str, Any]
    stats: Any
    losses: Mapping[str, Any]
    values: Mapping[str, Any]


@runtime_checkable
class Objective(Protocol):
    """(parameters that learn, batch, key of dropout) -> ({loss name: Float[]}, Aux): this shard's part of each mean loss.

    train: False for inference mode, without dropout and with running batch statistics.
    """

    def __call__(
        self, params: Any, batch: Batch, key: Key[Array, ""], train: bool = True
    ) -> tuple[Mapping[str, Float[Array, ""]], Aux]: ...


@runtime_checkable
class SeparableObjective(Objective, Protocol):
    """The objective of a step: the loss of the model's outputs. Objectives that wrap another one are not separable."""

    loss: Loss


@runtime_checkable
class Gradient(Protocol):
    """How a step's gradient is computed from its losses and its batch.

    Examples are a balance of several losses (`train.balance`), adversarial training, and differential privacy (`robust`).
    Returns (loss, gradient, aux, state); loss and gradient are summed over shards. state: any pytree, from `init` at first.
    key: of this step's dropout; other randomness comes from `fold_in(key, n)`.
    """

    def init(self, params: Any) -> Any: ...

    def __call__(
        self, objective: Objective, params: Any, state: Any, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Any, Aux, Any]: ...


Values = Callable[[Batch], Float[Array, " b"]]
"""Batch -> the loss of each example."""


@runtime_checkable
class Attack(Protocol):
    """A change of the inputs that makes a model fail: (values, batch, key) -> batch (see `robust`).

    values: the loss of each example under the trained model. Absent modalities and padding stay as they are. The identity when
    its budget is zero.
    """

    def __call__(self, values: Values, batch: Batch, key: Key[Array, ""]) -> Batch: ...


@runtime_checkable
class Compression(Protocol):
    """A change of a trained model that makes it smaller or faster (see `robust`)."""

    def module(self, model: Any) -> Any:
        """The module that takes the compressed variables: the model itself, or a describable value with its `apply`, `init`
        and `encoders`."""

    def variables(self, variables: Any) -> Any:
        """{collection: tree} of one seed -> compressed. Pure JAX, under `vmap` over seeds. Frozen published weights, which all
        seeds share, are not among them and stay as they are."""


@runtime_checkable
class Augment(Protocol):
    """(batch, key) -> batch, with new randomness at each training step; the identity when its rate is zero."""

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch: ...


@runtime_checkable
class Optimizer(Protocol):
    """Number of training steps -> an optax transformation that includes the learning rate schedule."""

    def __call__(self, steps: int) -> optax.GradientTransformation: ...


Subset = tuple[str, ...]
"""Names of modalities, sorted."""

Outcomes = Mapping[str, Any]
"""{name: array [u ...]}: the sufficient statistics of u units, such as hit and class, rank, or edits and words."""


class Metric(NamedTuple):
    """A number computed from the outcomes of weighted units.

    value: (outcomes of u units, their weights Float[u]) -> Float[]. A pure JAX function; NaN if it is undefined (for instance
    if all weights are zero). A unit of weight 0 must not change it.
    higher_is_better: the direction of an improvement.
    smooth: whether `value` is differentiable with respect to the weights. If so, its interval comes from its gradient, which is
    the influence of each unit; if not (a median), from random weights.
    bounds: the lowest and highest possible value; None if there is no bound.
    """

    value: Callable[[Outcomes, Float[Array, " u"]], Float[Array, ""]]
    higher_is_better: bool = True
    smooth: bool = True
    bounds: tuple[float | None, float | None] = (0.0, 1.0)


class Units(NamedTuple):
    """The u scored units of one split, such as examples, labelled steps or queries. NumPy arrays on the host.

    target: {name: array [u ...]}, the reference answers. weight: Float32[u]. group: Int[u]; units of one group are not
    independent. metadata: {column: array [u]} of strings or integers, always with "id". row: Int[u], each unit's row of the
    split. entry: Int[u], each unit's position in the predictions: its row, or row * steps + step for labelled steps.
    tokenizer: what turns predicted token ids into text, for tasks with texts as answers.
    """

    target: Mapping[str, np.ndarray]
    weight: np.ndarray
    group: np.ndarray
    metadata: Mapping[str, np.ndarray]
    row: np.ndarray
    entry: np.ndarray
    tokenizer: Any = None


@runtime_checkable
class Task(Protocol):
    """Defines what a model is asked and how its answers are scored. Only tasks know the kind of work (classes, ranks, words).

    `predict` runs on the device, inside `jit` and under `vmap` over seeds and subsets of modalities; everything else runs on
    the host. Predictions are a pytree of arrays [b ...] for a batch, and [n ...] for the n rows of a whole split.
    """

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The metrics of the table by name; the first one is the headline metric."""

    def check(self, outputs: Mapping[str, Any], data: Any) -> None:
        """Raises ValueError, naming the field, if the model's outputs do not fit the data. Runs before compilation.

        outputs: {name: jax.ShapeDtypeStruct}. data: a `Dataset`.
        """

    def subsets(self, modalities: tuple[str, ...]) -> tuple[Subset, ...]:
        """The subsets of modalities that are scored; the last one is the complete input."""

    def units(self, data: Any, split: str) -> Units:
        """The units of one split of a `Dataset`. They depend on the data and the task alone, so that models are paired."""

    def predict(self, apply: Callable, tokens: Mapping[str, Tokens], present: Mapping[str, Any], batch: Batch) -> Any:
        """The predictions for a batch; small, since they are kept for the whole split.

        apply: (tokens, present) -> {name: outputs}, the model's `decode` with the targets of the batch; with `method`, another
        method of the model, such as apply("caption", ids, cache, method="step"). tokens: the encoded modalities. present:
        {modality: Bool[b]}, restricted to the subset that is scored; `batch.present` is the presence in the data.
        """

    def outcomes(self, predicted: Any, units: Units) -> Outcomes:
        """Predictions of one seed and subset for all rows of a split, [n ...] -> the outcomes of its units, [u ...]."""

    def baselines(self, data: Any) -> Mapping[str, Any]:
        """{name: predictions for the rows of the test split} of simple baselines that are fitted on the training split."""

    def details(self, units: Units) -> Mapping[str, Metric]:
        """Further metrics for the complete input, outside the main table of the report, such as F1 by class ("f1/animals")."""

    def panels(self, outcomes: Outcomes, units: Units) -> list[Mapping[str, Any]]:
        """Plots and tables for the report as JSON values (see `mmjax.tasks.panels`). outcomes: of all seeds, [s u ...]."""

    def show(self, predicted: Any, units: Units, unit: int) -> Mapping[str, Any]:
        """The report's view of one unit: {"target": str, "predicted": str, "correct": bool or None, "score": float or None}.

        predicted: the predictions of all seeds for all rows, [s n ...]. unit: its index in `units`.
        """

    def answers(self, predicted: Any, classes: Mapping[str, tuple[str, ...]]) -> Mapping[str, np.ndarray]:
        """The answers to n new inputs, {name: array [n ...]}, averaged over seeds: "predicted", and others such as
        "probability". predicted: the predictions of all seeds, [s n ...]. classes: {target: the names of its classes, or the
        tokenizer of its texts}, as in `Dataset`."""
