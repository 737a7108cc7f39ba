"""Fusions of fusions. Each of these is a fusion, {modality: Tokens} -> Tokens, so they nest in each other without end.

A fused result is a modality like any other to the fusion after it: absent where nothing that it is made of is there.

    one after another     Serial(("image", "text"), GMU(), Concat())              # (image, text) first, then with the rest
    side by side          Parallel({"sum": WeightedSum(), "product": Product()}, Concat())
    a hybrid of both      Parallel({"all": Product(), "pair": Serial(("image", "text"), GMU(), Concat())}, Concat())

Two of them share parameters only where they are the same Python object.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp

from mmjax.types import Tokens


def _pick(tokens: Mapping[str, Tokens], names: tuple[str, ...], field: str) -> dict[str, Tokens]:
    """The named modalities; ValueError where there are none of that name."""
    unknown = sorted(set(names) - set(tokens))
    if unknown or not names:
        raise ValueError(f"{field} is {names}; it must name some of the modalities, which are {sorted(tokens)}")
    return {name: tokens[name] for name in names}


class Only(nn.Module):
    """`fusion` of the named modalities alone: a branch of `Parallel`, or an ablation.

        Only(("image", "text"), Product())

    names: modalities. fusion: any Fusion.
    """

    names: tuple[str, ...]
    fusion: nn.Module

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        return self.fusion(_pick(tokens, self.names, "Only.names"), train=train)


class Serial(nn.Module):
    """`first` fuses the named modalities, and `then` its result with all others. With v = first(image, text):

        Serial(("image", "text"), WeightedSum(), Concat())        # = Concat of {"audio": audio, "image_text": v}

    Its result is named by theirs, sorted and joined by "_". More stages are nested: `then` may be a Serial that names it.

        Serial(("image", "text"), GMU(), Serial(("audio", "image_text"), GMU(), Concat()))

    names: what `first` fuses. first, then: any Fusions.
    """

    names: tuple[str, ...]
    first: nn.Module
    then: nn.Module

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        fused = self.first(_pick(tokens, self.names, "Serial.names"), train=train)
        others = {name: t for name, t in tokens.items() if name not in self.names}
        joined = "_".join(sorted(self.names))
        if joined in others:
            raise ValueError(f"Serial.names are fused into {joined!r}, but there is a modality of that name; rename that one")
        return self.then({joined: fused, **others}, train=train)


class Parallel(nn.Module):
    """Several fusions side by side, each of all the modalities, and `then` over their results, by the names of the branches:

        Parallel({"image_text": Only(("image", "text"), GMU()), "audio_image": Only(("audio", "image"), GMU())}, Concat())

    `Append` as `then` keeps the branches' tokens as they are, one after another.

    branches: {name: any Fusion}. then: any Fusion.
    """

    branches: Mapping[str, nn.Module]
    then: nn.Module

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        if not self.branches:
            raise ValueError("Parallel.branches is empty; it needs at least one fusion")
        return self.then({name: branch(tokens, train=train) for name, branch in self.branches.items()}, train=train)


class Append(nn.Module):
    """All tokens one after another, modalities in the order of their names, without parameters; widths must be equal."""

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        parts = [tokens[name] for name in sorted(tokens)]
        if len({part.x.shape[-1] for part in parts}) > 1:
            widths = {name: tokens[name].x.shape[-1] for name in sorted(tokens)}
            raise ValueError(f"Append needs tokens of one width, and got {widths}; give the fusions before it the same width")
        x = jnp.concatenate([part.x.astype(jnp.float32) for part in parts], axis=1)
        return Tokens(x, jnp.concatenate([part.mask for part in parts], axis=1))
