"""Outputs for every subset of modalities, as evaluation computes them: one encoding, then `decode` under vmap over masks."""

import jax
import jax.numpy as jnp


def labels_by_subset(model, subsets):
    """(variables, batch) -> the output "label" for each of k subsets of modalities, [k b ...]."""

    @jax.jit
    def run(variables, batch):
        tokens = model.apply(variables, batch, method="encode")

        def one_subset(mask):
            present = {name: batch.present[name] & mask[name] for name in batch.present}
            return model.apply(variables, tokens, present, method="decode")["label"]

        return jax.vmap(one_subset)({name: jnp.array([name in subset for subset in subsets]) for name in batch.present})

    return run
