"""Changes of test inputs that do not depend on the model: noise, missing frames and the like."""

from dataclasses import dataclass

from jaxtyping import Array, Key

from mmjax.types import Augment, Batch, Declared, Values

__all__ = ["Corrupt"]


@dataclass(frozen=True)
class Corrupt:
    """An `Attack` that applies an augmentation to the test inputs, such as `DropSteps(0.5, "video")`.

    The model and its loss are not used. An example has the same random numbers in every run.
    change: the augmentation.
    """

    change: Declared[Augment]

    def __call__(self, values: Values, batch: Batch, key: Key[Array, ""]) -> Batch:
        del values
        return self.change(batch, key)
