"""One training step: a pure function of (state, frozen variables, batch)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Key

from mmjax.model import Multimodal
from mmjax.shards import sum_over_shards
from mmjax.train.finite import all_finite
from mmjax.train.stages import EVERYTHING, merged, restricted, split
from mmjax.types import Augment, Aux, Batch, Gradient, Loss, Objective

__all__ = ["Step", "SumOfLosses", "TrainState", "init_state", "make_step", "reset_optimizer", "weighted_mean"]


@struct.dataclass
class TrainState:
    """The state of one seed; with a leading axis s, of all seeds.

    step: Int[], number of steps taken. params: the parameters of this seed. stats: its other variables, such as batch
    statistics. opt_state, gradient_state: states of the optimiser and of the `Gradient`. key: the seed's PRNG key, which never
    changes. average: of the parameters (`train.average`), None without one.
    """

    step: Any
    params: Any
    stats: Any
    opt_state: Any
    gradient_state: Any
    key: Any
    average: Any = None

    @property
    def variables(self) -> dict[str, Any]:
        """{"params", other collections} of this seed, without the frozen variables that all seeds share; the averages of the
        parameters if there are any."""
        return {"params": self.params if self.average is None else self.average, **self.stats}


Step = Callable[[TrainState, Any, Batch], tuple[TrainState, dict[str, Float[Array, ""]]]]
"""(state, frozen, batch) -> (state, metrics), of one seed.

frozen: the variables that all seeds share, {"params": tree, collection: tree}; {} if there are none.
metrics: "loss"; "loss/<name>" of each of several losses; "gradient_norm" and "update_norm", global norms over the parameters
that learn, before clipping and after the optimiser; "finite", False if any of these or an updated batch statistic is NaN or
infinite.
"""


class SumOfLosses:
    """The default `Gradient`: that of the sum of the losses."""

    def init(self, params: Any) -> tuple[()]:
        """No state."""
        return ()

    def __call__(self, objective: Objective, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        def total(params):
            losses, aux = objective(params, batch, key)
            return sum(losses.values()), aux

        (value, aux), gradient = jax.value_and_grad(total, has_aux=True)(params)
        return *sum_over_shards((value, gradient)), aux, state


def init_state(
    model: nn.Module,
    tx: optax.GradientTransformation,
    key: Key[Array, ""],
    batch: Batch,
    gradient: Gradient | None = None,
    learns: Sequence[str] = EVERYTHING,
    pretrained: Mapping[str, Any] | None = None,
    shared: Collection[str] = (),
) -> TrainState:
    """The state of one seed before the first step.

    batch: arrays, or shapes and dtypes alone (`jax.ShapeDtypeStruct`). learns: as in `make_step`. pretrained: {path: array}
    that replace initial values, with paths such as "params/encoders_text/word/embedding". shared: paths of frozen variables,
    which the state leaves out.
    """
    init_key, train_key = jax.random.split(key)
    batch = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype)), batch)
    flat = flatten_dict(dict(model.init(init_key, batch)), sep="/")
    flat = {path: (pretrained or {}).get(path, leaf) for path, leaf in flat.items() if path not in shared}
    stats = unflatten_dict(flat, sep="/")
    params = stats.pop("params", {})
    state = TrainState(jnp.zeros((), jnp.int32), params, stats, (), (), train_key)
    return reset_optimizer(state, tx, learns, gradient)


def reset_optimizer(
    state: TrainState,
    tx: optax.GradientTransformation,
    learns: Sequence[str] = EVERYTHING,
    gradient: Gradient | None = None,
) -> TrainState:
    """The state with new states of the optimiser and the `Gradient`, as at the start of a stage."""
    gradient = gradient or SumOfLosses()
    return state.replace(opt_state=tx.init(split(state.params, learns)[0]), gradient_state=gradient.init(state.params))


def weighted_mean(values: Float[Array, " b"], weight: Float[Array, " b"]) -> Float[Array, ""]:
    """This shard's part of the weighted mean over the whole batch; the parts sum to it. Padding (weight 0) may be NaN."""
    total = sum_over_shards(jnp.sum(weight))
    return jnp.sum(jnp.where(weight > 0, values * weight, 0)) / jnp.maximum(total, jnp.finfo(jnp.float32).tiny)


def _freeze_encoders(model: nn.Module, learning: Mapping[str, Any], fixed: Mapping[str, Any]) -> nn.Module:
    """The model with fully frozen encoders in inference mode. An encoder without parameters is not frozen."""
    if not isinstance(model, Multimodal):
        return model
    frozen = [name for name in model.encoders if f"encoders_{name}" in fixed and f"encoders_{name}" not in learning]
    return model.clone(frozen=(*model.frozen, *frozen)) if frozen else model


def make_step(
    model: nn.Module,
    loss: Loss,
    tx: optax.GradientTransformation,
    augment: Mapping[str, Augment] | None = None,
    gradient: Gradient | None = None,
    learns: Sequence[str] = EVERYTHING,
    gather: Callable[[Any], AbstractContextManager[Any]] = nullcontext,
) -> Step:
    """The training step. It runs on one device, or inside `pmap` over `SHARD` on a part of the batch.

    learns: the parameters that learn (see `Stage.learns`). The others have no gradient and no optimiser state. A fully frozen
    encoder runs in inference mode; a partly frozen one runs in training mode, where its batch norms use and update batch
    statistics. gather: that of a `parallel.Plan`; it is applied where the model runs, so that gradients and the optimiser's
    update stay in parts.
    """
    augment, gradient_of = augment or {}, gradient or SumOfLosses()

    def step(state: TrainState, frozen: Any, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        learning, still = split(state.params, learns)
        fixed = merged({"params": still, **state.stats}, frozen)
        run = _freeze_encoders(model, learning, fixed.get("params", {}))
        dropout, *keys = jax.random.split(jax.random.fold_in(state.key, state.step), 1 + len(augment))
        for change, key in zip(augment.values(), keys):
            batch = change(batch, key)

        def objective(learning, batch, key, train=True):
            mutable = list(state.stats) if train else []
            with gather(merged(fixed, {"params": learning})) as variables:
                outputs, stats = run.apply(variables, batch, train=train, rngs={"dropout": key}, mutable=mutable)
            values = loss(outputs, batch)
            values = values if isinstance(values, Mapping) else {"loss": values}
            losses = {name: weighted_mean(value, batch.weight) for name, value in values.items()}
            return losses, Aux(outputs, restricted(stats, state.stats) if train else state.stats, losses, values)

        objective.loss = loss
        value, gradient, aux, gradient_state = gradient_of(objective, learning, state.gradient_state, batch, dropout)
        updates, opt_state = tx.update(gradient, state.opt_state, learning)
        params = merged(optax.apply_updates(learning, updates), still)

        metrics = {"loss": value, "gradient_norm": optax.tree.norm(gradient), "update_norm": optax.tree.norm(updates)}
        if len(aux.losses) > 1:
            metrics |= {f"loss/{name}": one for name, one in sum_over_shards(dict(aux.losses)).items()}
        metrics = {name: jnp.asarray(metric, jnp.float32) for name, metric in metrics.items()}
        metrics["finite"] = all_finite((metrics, aux.stats))
        new = state.replace(
            step=state.step + 1, params=params, stats=aux.stats, opt_state=opt_state, gradient_state=gradient_state
        )
        return new, metrics

    return step
