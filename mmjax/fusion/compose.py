"""Fusions composed of other fusions. Each is a fusion itself, {modality: Tokens} -> Tokens, so they can be nested.

The output of a fusion is a modality for the next fusion. It is absent if all of its inputs are.

    serial      Serial(("image", "text"), GMU(), Concat())              # fuses (image, text), then the result with the rest
    parallel    Parallel({"sum": WeightedSum(), "product": Product()}, Concat())
    hybrid      Parallel({"all": Product(), "pair": Serial(("image", "text"), GMU(), Concat())}, Concat())

Two fusions share parameters only if they are the same Python object.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp

from mmjax.fusion.early import spans_of
from mmjax.types import Tokens

__all__ = ["Append", "Only", "Parallel", "Serial"]


def _pick(tokens: Mapping[str, Tokens], names: tuple[str, ...], field: str) -> dict[str, Tokens]:
    """The named modalities. Raises ValueError for unknown names and for none."""
    unknown = sorted(set(names) - set(tokens))
    if unknown or not names:
        raise ValueError(f"{field} is {names}; it must contain one or more of the modalities {sorted(tokens)}")
    return {name: tokens[name] for name in names}


class Only(nn.Module):
    """Restricts a fusion to the named modalities, as a branch of `Parallel` or in an ablation.

        Only(("image", "text"), Product())

    names: modalities. fusion: any Fusion.
    """

    names: tuple[str, ...]
    fusion: nn.Module

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        return self.fusion(_pick(tokens, self.names, "Only.names"), train=train)


class Serial(nn.Module):
    """`first` fuses the named modalities, then `then` fuses the result with all other modalities.

        Serial(("image", "text"), WeightedSum(), Concat())    # Concat of {"audio": ..., "image_text": WeightedSum's output}

    The name of the intermediate result consists of the names, sorted and joined by "_". For further stages, `then` can be a
    Serial that contains this name:

        Serial(("image", "text"), GMU(), Serial(("audio", "image_text"), GMU(), Concat()))

    names: inputs of `first`. first, then: any Fusions.
    """

    names: tuple[str, ...]
    first: nn.Module
    then: nn.Module

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        fused = self.first(_pick(tokens, self.names, "Serial.names"), train=train)
        others = {name: t for name, t in tokens.items() if name not in self.names}
        joined = "_".join(sorted(self.names))
        if joined in others:
            raise ValueError(f"Serial.names are fused into {joined!r}, but a modality has this name; rename the modality")
        return self.then({joined: fused, **others}, train=train)


class Parallel(nn.Module):
    """Each branch fuses all modalities, and `then` fuses the outputs of the branches.

        Parallel({"image_text": Only(("image", "text"), GMU()), "audio_image": Only(("audio", "image"), GMU())}, Concat())

    branches: {name: any Fusion}. then: any Fusion over {branch name: Tokens}; `Append` concatenates the tokens unchanged.
    """

    branches: Mapping[str, nn.Module]
    then: nn.Module

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        if not self.branches:
            raise ValueError("Parallel.branches is empty; it needs at least one fusion")
        return self.then({name: branch(tokens, train=train) for name, branch in self.branches.items()}, train=train)


class Append(nn.Module):
    """Concatenates the tokens of all modalities along the token axis. No parameters. ValueError if their widths differ."""

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        parts = [tokens[name] for name in sorted(tokens)]
        if len({part.x.shape[-1] for part in parts}) > 1:
            widths = {name: tokens[name].x.shape[-1] for name in sorted(tokens)}
            raise ValueError(f"Append needs tokens of equal width, but the widths are {widths}")
        x = jnp.concatenate([part.x.astype(jnp.float32) for part in parts], axis=1)
        return Tokens(x, jnp.concatenate([part.mask for part in parts], axis=1))

    def spans(self, counts: Mapping[str, int]) -> dict[str, range]:
        """The positions of each modality's tokens in the output. counts: {modality: number of its tokens}."""
        return spans_of(counts)
