"""Losses of published models with several terms, over the outputs of the heads in `fusion.published`."""

from itertools import combinations
from typing import Any

from mmjax.losses.combine import WeightedLosses
from mmjax.losses.distributions import CentralMoments, NormalMMD, Orthogonality
from mmjax.losses.output import OutputLoss

__all__ = ["mfm_loss", "misa_loss"]


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

    loss: of the task. modalities: of the model. generation, discrepancy: weights; the authors have one per modality. The
    outputs are those of `fusion.published.mfm_heads`.
    """
    each = {"task": (loss, 1.0), "generation": (OutputLoss("generation"), generation)}
    for output in ("latent", *(f"{name}.latent" for name in sorted(modalities))):
        each[f"discrepancy {output}"] = NormalMMD(output), discrepancy
    return WeightedLosses(each)
