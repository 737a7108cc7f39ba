"""Metrics: pure functions of the outcomes of u units and their weights, Float[u] -> Float[].

They run under `jit`, `vmap` and `grad`: the gradient with respect to the weights is each unit's influence on the metric. A unit
of weight 0 changes nothing, whatever its outcomes are. There is one module per family; its docstring lists the outcomes.
"""

__all__ = [
    "bleu", "chrf", "cider", "classification", "confidence", "edits", "fairness", "information", "meteor", "multilabel",
    "ngrams", "porter", "ranking", "regression", "retrieval", "robustness", "rouge", "sentiment", "ter", "ter_alignment",
    "text", "text_normal", "texts", "weighted",
]
