"""A cell of tiny models with weights that a test sets, without a run folder."""

from types import SimpleNamespace

import flax.linen as nn
import jax.numpy as jnp

from mmjax.audit.audited import Audited
from mmjax.audit.part import AuditedPart
from mmjax.data.dataset import identity
from mmjax.model import Multimodal
from mmjax.runs.model import Reader, SavedModel
from mmjax.tasks import Classify
from mmjax.types import Padded, Tokens


class Linear(nn.Module):
    """All entries of an input -> a token of `width` numbers, without bias; padding is 0."""

    width: int

    @nn.compact
    def __call__(self, x, *, train=False):
        x = x.x if isinstance(x, Padded) else x
        flat = x.reshape(len(x), -1)
        return Tokens(nn.Dense(self.width, use_bias=False)(flat)[:, None], jnp.ones((len(flat), 1), bool))


class Sum(nn.Module):
    """The sum of all tokens that are present, as a token."""

    def __call__(self, tokens, *, train=False):
        total = sum(jnp.sum(jnp.where(of.mask[..., None], of.x, 0), axis=1) for of in tokens.values())
        return Tokens(total[:, None], jnp.ones((len(total), 1), bool))


class AsLogits(nn.Module):
    """The first token."""

    def __call__(self, tokens, *, train=False):
        return tokens.x[:, 0]


def audited_cell(data, encoders, variables, seeds, described=None):
    """A cell with the task of classifying "label" by the sum of one token for each modality.

    data: a `Dataset`. encoders: {modality: encoder}. variables: leaves [s ...]. described: the JSON of the data.
    """
    task = Classify("label")
    module, readers = Multimodal(encoders, Sum(), {"label": AsLogits()}), dict.fromkeys(encoders, Reader(None, identity, {}))
    model = SavedModel(module, {"label": task}, readers, {}, {}, tuple(range(seeds)), variables, {})
    found = object.__new__(Audited)
    names = sorted(encoders)
    entry = {"modalities": names, "tasks": {"label": {"complete": "+".join(names)}}, "experiment": {"data": described}}
    found.__dict__.update(
        run=SimpleNamespace(results={"cells": {"made": entry}}), cell="made", task_name="label", task=task,
        parts=(AuditedPart("part", None, model, data, task),),
    )  # fmt: skip
    return found
