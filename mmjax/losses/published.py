"""Losses of published models with several terms, over the outputs of the heads in `fusion.published`."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.losses.combine import On, WeightedLosses
from mmjax.losses.contrastive import CPC
from mmjax.losses.criteria import AbsoluteError
from mmjax.losses.distributions import CentralMoments, NormalMMD, Orthogonality, SignedEntropy
from mmjax.losses.output import OutputLoss
from mmjax.types import Batch

__all__ = ["SelfMMLoss", "mfm_loss", "misa_loss", "mmim_loss"]


def misa_loss(
    loss: Any, modalities: tuple[str, ...], similarity: float = 1.0, difference: float = 0.3, reconstruction: float = 1.0
) -> WeightedLosses:
    """The loss of MISA (Hazarika et al., 2020, equation 8): that of the task, plus the weighted

        similarity        mean of `CentralMoments` of s_j and s_k over the pairs of modalities (equation 11),
        difference        sum of `Orthogonality` of p_k and s_k, and of p_j and p_k (equation 13),
        reconstruction    mean squared error of the reconstructions of the u_k (equation 14).

    loss: of the task, such as On("label"). modalities: of the model. similarity, difference, reconstruction: weights. The
    outputs are those of `fusion.published.misa_heads`.
    """
    pairs = list(combinations(sorted(modalities), 2))
    each = {"task": (loss, 1.0), "reconstruction": (OutputLoss("reconstruction"), reconstruction)}
    for a, b in pairs:
        each[f"similarity {a} {b}"] = CentralMoments(f"{a}.shared", f"{b}.shared"), similarity / len(pairs)
        each[f"difference {a} {b}"] = Orthogonality(f"{a}.private", f"{b}.private"), difference
    for name in sorted(modalities):
        each[f"difference {name}"] = Orthogonality(f"{name}.private", f"{name}.shared"), difference
    return WeightedLosses(each)


def mfm_loss(loss: Any, modalities: tuple[str, ...], generation: float = 1.0, discrepancy: float = 1.0) -> WeightedLosses:
    """The loss of the multimodal factorisation model (Tsai et al., 2019, equation 4): that of the task, plus the weighted

        generation     sum over the modalities of the mean squared error of the generated tokens,
        discrepancy    sum of `NormalMMD` of the latents of each modality and of all.

    `published_mfm_loss` has the kernel of the authors' code, which is wider. loss: of the task. modalities: of the model.
    generation, discrepancy: weights; the authors have one per modality. The outputs are those of
    `fusion.published.mfm_heads`.
    """
    each = {"task": (loss, 1.0), "generation": (OutputLoss("generation"), generation)}
    for output in ("latent", *(f"{name}.latent" for name in sorted(modalities))):
        each[f"discrepancy {output}"] = NormalMMD(output), discrepancy
    return WeightedLosses(each)


def mmim_loss(
    loss: Any,
    modalities: tuple[str, ...],
    main: str = "text",
    target: str | None = "score",
    cpc: float = 0.1,
    bound: float = 0.1,
    ridge: float = 1e-6,
) -> WeightedLosses:
    """The loss of MMIM (Han et al., 2021), with the weights of the authors' code: that of the task, plus

        cpc      of `CPC` between the fusion and each modality,
        bound    of the negative log-likelihood of the other modalities given the main one, minus their `SignedEntropy`.

    loss: of the task; On(target, AbsoluteError()) in the code. modalities: of the model. main: as in `MMIM`. target: whose sign
    chooses the Gaussian of the entropy; None to leave the entropy out, as for classes. cpc, bound: weights. ridge: as in
    `SignedEntropy`. The outputs are those of `fusion.published.mmim_heads`. The code forgets the batch before and leaves the
    entropy out of the first two steps of each epoch.
    """
    each = {"task": (loss, 1.0), "likelihood": (OutputLoss("negative_log_likelihood"), bound)}
    for name in sorted(modalities):
        each[f"cpc {name}"] = CPC(f"{name}.vector", f"{name}.predicted"), cpc
        if name != main and target is not None:
            each[f"entropy {name}"] = SignedEntropy(f"{name}.entropy", target, ridge), -bound
    return WeightedLosses(each)


@dataclass(frozen=True)
class SelfMMLoss:
    """The loss of Self-MM (Yu et al., 2021): the absolute error of the task, and of each modality k that to its own
    label y_k, weighted by tanh |y_k - y|. {"task": Float[b], modality: Float[b]}.

    The y_k are the targets "k.target" from `train.unimodal_labels.UnimodalLabels`; without them, y_k = y, with weight 0.

    modalities: of the model. target: the name of a target Float[b] or Float[b 1]. The outputs are those of
    `fusion.published.self_mm_heads`.
    """

    modalities: tuple[str, ...]
    target: str = "score"

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> dict[str, Float[Array, " b"]]:
        values = {"task": On(self.target, AbsoluteError())(outputs, batch)}
        for name in sorted(self.modalities):
            output = f"{name}.{self.target}"
            own = output if output in batch.targets else self.target
            error = On(output, AbsoluteError(), own)(outputs, batch)
            distance = jnp.abs(batch.targets[own] - batch.targets[self.target]).reshape(-1)
            values[name] = error * jnp.tanh(jnp.where(jnp.isnan(distance), 0, distance))  # NaN without a target
        return values
