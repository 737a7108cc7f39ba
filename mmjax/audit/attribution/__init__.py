"""Attributions: how much each pixel, word, time-frequency bin or sensor channel contributes to a score of each example.

Pure functions of (score, inputs, baselines, key), which work under `jit`, and under `vmap` over seeds. A score is a function
inputs -> Float[b]: one number for each example, which depends on the inputs of this example alone. Inputs are a pytree of float
arrays [b ...], such as {"image": Float[b h w c], "text": Float[b n d], the embeddings of its words}.

If the score ignores the inputs of absent modalities and padding, as `Multimodal` does, their gradients are zero; `only` makes
them exactly zero for every method. `mmjax.audit.explain` applies all of this to a trained cell.
"""

from mmjax.audit.attribution.cam import grad_cam, grad_cam_at
from mmjax.audit.attribution.gradients import (
    Score,
    completeness_gap,
    gradient,
    integrated_gradients,
    integrated_gradients_to,
    only,
    smooth_gradient,
)
from mmjax.audit.attribution.occlusion import area, deletion, insertion, occlusion
from mmjax.audit.attribution.rollout import attention_rollout, self_attention
from mmjax.audit.attribution.sanity import randomized, rank_correlation
from mmjax.audit.attribution.words import embeddings_of, with_embeddings

__all__ = [
    "Score",
    "area",
    "attention_rollout",
    "completeness_gap",
    "deletion",
    "embeddings_of",
    "grad_cam",
    "grad_cam_at",
    "gradient",
    "insertion",
    "integrated_gradients",
    "integrated_gradients_to",
    "occlusion",
    "only",
    "randomized",
    "rank_correlation",
    "self_attention",
    "smooth_gradient",
    "with_embeddings",
]
