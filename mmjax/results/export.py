"""The prediction function of a trained model, and its bytes of `jax.export`, which run without mmjax."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from mmjax.evaluate.predict import predict_subsets
from mmjax.runs.model import SavedModel, as_item
from mmjax.train.stages import merged

__all__ = ["PLATFORMS", "exported", "prediction"]

PLATFORMS = ("cpu", "cuda", "tpu")


def prediction(model: SavedModel) -> Callable[..., dict[str, Any]]:
    """The function of the variables [s ...], the frozen variables, {modality: items [b ...]} and {modality: present Bool[b]}
    that returns {task: predictions [s b ...]} of all seeds, from all modalities that are present."""
    subsets = {task: (value.subsets(tuple(model.readers))[-1],) for task, value in model.tasks.items()}
    predict = predict_subsets(model.module, model.tasks, subsets)

    def run(variables, frozen, items, present):
        prepared = model.batch(items, present)
        found = jax.vmap(lambda one: predict(merged(one, frozen), prepared))(variables)
        return jax.tree.map(lambda leaf: leaf[:, 0], found)  # the only subset

    return run


def exported(model: SavedModel) -> tuple[bytes, dict[str, Any]]:
    """(bytes, description as JSON) of the prediction function of all seeds, for any batch size (see `Cell.export`)."""
    predict = prediction(model)
    variables, frozen = (jax.tree.map(jnp.asarray, tree) for tree in (model.variables, model.frozen))

    def run(inputs, present):
        items = {name: as_item(leaves if isinstance(leaves, dict) else {"": leaves}) for name, leaves in inputs.items()}
        return predict(variables, frozen, items, present)

    (b,) = export.symbolic_shape("b")
    shape = lambda leaf: jax.ShapeDtypeStruct((b, *leaf.shape), leaf.dtype)
    inputs = {
        name: shape(reader.item[""]) if "" in reader.item else {key: shape(leaf) for key, leaf in reader.item.items()}
        for name, reader in model.readers.items()
    }
    present = {name: jax.ShapeDtypeStruct((b,), bool) for name in model.readers}
    function = export.export(jax.jit(run), platforms=PLATFORMS)(inputs, present)
    describe = lambda tree: jax.tree.map(lambda leaf: {"shape": [str(n) for n in leaf.shape], "dtype": str(leaf.dtype)}, tree)
    outputs = jax.tree.unflatten(function.out_tree, function.out_avals)
    description = {
        "inputs": describe(inputs),
        "present": describe(present),
        "outputs": describe(outputs),
        "seeds": list(model.seeds),
        "classes": {name: list(names) for name, names in model.classes.items() if isinstance(names, tuple)},
        "tokenizers": {
            name: tokenizer.library.to_str() for name, tokenizer in model.classes.items() if not isinstance(tokenizer, tuple)
        },
    }
    return bytes(function.serialize()), description
