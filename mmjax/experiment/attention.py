"""Attention maps of the examples that the report shows: what each word of a text looked at."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from mmjax.data.inputs import TextInput
from mmjax.evaluate.attention import binned, has_weights, modality_weights, words_of
from mmjax.types import Units

__all__ = ["attention_maps"]


def attention_maps(
    run: Any, plan: Any, placed: Any, frozen: Any, task: Any, units: Units, predicted: Any, chosen: Sequence[int]
) -> list[dict[str, Any] | None]:
    """The attention to each modality for each word of the shown texts, as JSON (`mmjax.runs.read.ATTENTION`).

    run: a `PartRun`. plan, placed, frozen: the plan and its variables. predicted: of the complete input; of a text its token
    ids [s n m]. chosen: the units that are shown. Weights are means over the seeds that wrote the shown text. None for all
    units if the decoder or the fusion has no weights of each modality's tokens, or if the model or its inputs were changed
    after training.
    """
    experiment = run.experiment
    if experiment.attack is not None or experiment.compress is not None or not has_weights(experiment.model, task):
        return [None] * len(chosen)
    ids, by = task.written(predicted, units, chosen)
    rows, feed, size = np.asarray(units.row)[list(chosen)], run.feed_of("test"), experiment.batch
    size += -size % plan.devices
    evaluate = plan.evaluate(modality_weights(experiment.model, task.output))
    maps = []
    for start in range(0, len(rows), size):
        part = slice(start, min(start + size, len(rows)))
        count = part.stop - part.start
        fill = lambda array, value: np.concatenate([array, np.full((size - count, *array.shape[1:]), value, array.dtype)])
        batch = feed(fill(rows[part], -1))
        batch = batch.replace(targets={**batch.targets, task.output: fill(ids[part], -1)})
        found = jax.tree.map(np.asarray, evaluate(placed, frozen, batch))
        for k in range(count):
            of_example = jax.tree.map(lambda leaf, k=k: leaf[:, k], found)
            maps.append(_of_text(run.dataset, units.tokenizer, ids[start + k], of_example, by[:, start + k], batch, k))
    return maps


def _of_text(
    data: Any, tokenizer: Any, ids: np.ndarray, found: Any, by: np.ndarray, batch: Any, number: int
) -> dict[str, Any] | None:
    """The entry of one text. found: {modality: {"weights": Float[s m n], "mask": Bool[s n]}}. by: Bool[s]."""
    words, positions = words_of(tokenizer, ids.tolist())
    maps = {}
    for name, of in found.items():
        valid = of["mask"][0]
        if not valid.any() or not words:
            continue
        weights = of["weights"][by].mean(axis=0)[:, valid]
        of_words = np.stack([weights[at].mean(axis=0) if at else np.zeros(weights.shape[1]) for at in positions])
        labels = _labels(data, name, batch.inputs[name], number, valid)
        shown = of_words if labels else binned(of_words)
        maps[name] = {"weights": [[float(f"{x:.3g}") for x in row] for row in shown.tolist()], "tokens": labels}
    return {"words": words, "maps": maps} if maps else None


def _labels(data: Any, name: str, inputs: Any, number: int, valid: np.ndarray) -> list[str] | None:
    """The text of each valid token of a modality of token ids, whose encoder keeps all tokens; None for others."""
    parse = data.columns[name].parse
    if not isinstance(parse, TextInput) or inputs.x.shape[1] != len(valid):
        return None
    return [parse.tokenizer.text([token]) or "?" for token in np.asarray(inputs.x[number])[valid].tolist()]
