"""Outputs of a fusion beside its tokens, such as representations or losses, and the head that makes them outputs of the model.

    fusion=MVAE(16),
    heads={"label": Classifier(9), "negative_elbo": FusionOutput("negative_elbo")},
    loss=WeightedLosses({"label": 1.0, "negative_elbo": (OutputLoss("negative_elbo"), 0.1)}),
"""

from typing import Any

import flax.linen as nn
from flax import struct
from jaxtyping import Array, Float

from mmjax.types import Tokens

__all__ = ["FusedTokens", "FusionOutput"]


@struct.dataclass
class FusedTokens(Tokens):
    """Fused tokens, and other outputs of the fusion, {name: Float[b ...]}."""

    outputs: Any


class FusionOutput(nn.Module):
    """A head whose output is another output of the fusion, Float[b ...]: the outermost fusion must return `FusedTokens`.

    output: its name, such as "text.shared" of a `MISA`. ValueError if there is no such output.
    """

    output: str

    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b ..."]:
        outputs = tokens.outputs if isinstance(tokens, FusedTokens) else {}
        if self.output not in outputs:
            raise ValueError(
                f"FusionOutput.output is {self.output!r}; the outermost fusion has the outputs {sorted(outputs)}"
            )
        return outputs[self.output]
