"""Strange inputs: how well a confidence detects them, with every subset of the modalities."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.audit.audit import Audit, NotApplicable, with_interval
from mmjax.audit.audited import Audited, AuditedPart
from mmjax.audit.prediction_sets import softmax
from mmjax.evaluate.predict import predict_subsets
from mmjax.metrics.confidence import auroc
from mmjax.tasks import panels
from mmjax.types import Batch, Metric, Padded

__all__ = ["scrambled", "strange_inputs"]


def strange_inputs(audited: Audited, seed: int = 0) -> Audit:
    """How well confidence tells test inputs from strange ones, for every subset of the modalities that may be present.

    A strange input has at each position the value of another random example, independently of the other positions: it has the
    right values and no structure. Scores: the largest probability (Hendrycks and Gimpel, 2017) and the energy, log sum exp of
    the logits (Liu et al., 2020). A number is the area under the ROC curve: 0.5 is chance.
    """
    subsets = tuple(tuple(name.split("+")) for name in audited.outcomes)

    def make(part: AuditedPart) -> Callable[[Any, Batch], Any]:
        predict = predict_subsets(part.model.module, {"task": part.task}, {"task": subsets})

        def scores(variables: Any, batch: Batch) -> Any:
            keys = jax.random.split(jax.random.key(seed), len(batch.inputs))
            inputs = {name: scrambled(batch.inputs[name], key) for name, key in zip(sorted(batch.inputs), keys)}
            both = [predict(variables, one)["task"] for one in (batch, batch.replace(inputs=inputs))]
            return [jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), tree) for tree in both]

        return scores

    parts: dict[str, dict[str, list[np.ndarray]]] = {}
    units = {part.fold: part.units() for part in audited.parts}
    for fold, (inside, outside) in audited.predict(make).items():
        if not isinstance(inside, np.ndarray) or inside.ndim != 4 or "label" not in units[fold].target:
            raise NotApplicable(f"task {audited.task_name} does not predict logits of one class per example")
        for kind, logits in (("inside", inside), ("outside", outside)):
            for name, score in (("probability", softmax(logits).max(-1)), ("energy", _energy(logits))):
                parts.setdefault(name, {}).setdefault(kind, []).append(np.float32(score[:, units[fold].entry]))
    found = {}
    for name, of in parts.items():
        joined = {kind: np.concatenate(arrays, axis=1) for kind, arrays in of.items()}  # [s u k]
        for number, subset in enumerate(audited.outcomes):
            outcomes = {kind: array[:, :, number] for kind, array in joined.items()}
            found[f"{name}, {subset}"] = audited.estimates(outcomes, {"AUROC": Metric(auroc)})["AUROC"]
    table = [[found[f"{name}, {subset}"].mean for name in parts] for subset in audited.outcomes]
    best = max(parts, key=lambda name: found[f"{name}, {audited.complete}"].mean)
    full = found[f"{best}, {audited.complete}"]
    worst = min(audited.outcomes, key=lambda subset: found[f"{best}, {subset}"].mean)
    return Audit(
        name="strange_inputs",
        title="Detection of strange inputs with missing modalities",
        conclusions=(
            f"With all modalities, the {best} detects strange inputs with an AUROC of {with_interval(full)}; of all subsets it "
            f"is worst with {worst.replace('+', ' and ')}: {found[f'{best}, {worst}'].mean:.3f}.",
        ),
        estimates=found,
        panels=(panels.matrix("AUROC by subset and score", list(audited.outcomes), list(parts), table, "present", "score"),),
        note="Strange inputs have the values of other examples, drawn independently at each position. Scores: largest "
        "probability (Hendrycks and Gimpel, 2017), energy (Liu et al., 2020).",
        values={"seed": seed},
    )


def scrambled(x: Any, key: Any) -> Any:
    """Each entry from another example of the batch at random; the valid length stays."""
    shuffle = lambda leaf: jax.random.permutation(key, leaf, axis=0, independent=True)
    return x.replace(x=shuffle(x.x)) if isinstance(x, Padded) else jax.tree.map(shuffle, x)


def _energy(logits: np.ndarray) -> np.ndarray:
    """log sum exp: the negative energy, higher for familiar inputs."""
    return np.asarray(jax.nn.logsumexp(jnp.asarray(logits, jnp.float32), axis=-1))
