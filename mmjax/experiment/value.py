"""The Experiment value: data, model, training and tasks of one cell of an ablation."""

import dataclasses
from collections.abc import Callable
from dataclasses import field

import flax.linen as nn
import tyro

from mmjax.data.dataset import Data
from mmjax.data.order import Epochs, Sampling
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.train.average import Average
from mmjax.train.optim import Adam
from mmjax.train.stages import Stage
from mmjax.types import Attack, Augment, Compression, Declared, Fusion, Gradient, Optimizer, Task

__all__ = ["Experiment", "ExperimentError"]


class ExperimentError(ValueError):
    """An experiment is not valid, or a run cannot continue; the message names the field and gives the valid values."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One cell of an ablation.

    Data and model:
    data: a frozen dataclass with `load() -> Dataset`, such as `Stamps`.
    encoders: {modality: Encoder}. fusion: a Fusion, or None if there are no heads over fused tokens.
    heads: {output: Head} over the fused tokens. unimodal_heads: {modality: {name: Head}} over the tokens of one modality; their
    outputs are named "modality.name". loss_parameters: {output: module without inputs}, scalars that a loss learns. decoders:
    {target: Decoder} over the fused tokens.
    weights: {path of an encoder's parameters, such as "encoders_text": name of the published weights that initialise them}.

    Training:
    loss; gradient: how the gradient of a step is computed (`types.Gradient`), None for the gradient of the sum of the losses.
    optim: steps -> optax transformation. augment: {name: (batch, key) -> batch}, applied in order. stages: stages of the
    training, in order; () for one stage in which everything learns. steps: number of training steps. batch: rows per step.
    sampling: how the rows of a step are drawn, `Epochs()` or `Poisson()` (see `mmjax.data.order`).
    skip_nonfinite: skip and count steps with a non-finite loss or gradient instead of stopping at the first one.
    average: an exponential moving average of the parameters, which is evaluated and saved in their place; None for none.
    placement: rules for `--plan sharded`, (pattern of a parameter's path, mesh axes of its last axes) pairs that go before
    `mmjax.train.sharded.DEFAULT_RULES`.

    Evaluation:
    tasks: {name: Task}, all scored after one training run. select: "task.metric" on the validation split, or "loss" for the
    validation loss, which selects the best step and the best cell; None for the headline metric of the first task.
    compress: a `Compression` of the trained model before it is scored and saved. attack: an `Attack` on the inputs of the test
    split. Cells of one run that differ in these two fields alone are trained once.
    groups: metadata columns of the test split; every task is also scored for each value of these columns.
    evaluate_every, checkpoint_every: steps between evaluations on the validation split, and between checkpoints.
    """

    data: Declared[Data]
    encoders: dict[str, nn.Module]
    fusion: Declared[Fusion | None] = None
    heads: dict[str, nn.Module] = field(default_factory=dict)
    unimodal_heads: dict[str, dict[str, nn.Module]] = field(default_factory=dict)
    loss_parameters: dict[str, nn.Module] = field(default_factory=dict)
    decoders: dict[str, nn.Module] = field(default_factory=dict)
    tasks: Declared[dict[str, Task]] = field(default_factory=dict)
    optim: Declared[Optimizer] = field(default_factory=Adam)
    augment: Declared[dict[str, Augment]] = field(default_factory=dict)
    loss: tyro.conf.Suppress[Callable] = cross_entropy
    gradient: Declared[Gradient | None] = None
    stages: tuple[Stage, ...] = ()
    weights: dict[str, str] = field(default_factory=dict)
    select: str | None = None
    compress: Declared[Compression | None] = None
    attack: Declared[Attack | None] = None
    groups: tuple[str, ...] = ()
    steps: int = 300
    batch: int = 32
    sampling: Declared[Sampling] = Epochs()
    evaluate_every: int = 25
    checkpoint_every: int = 100
    skip_nonfinite: bool = False
    average: Declared[Average | None] = None
    placement: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def model(self) -> Multimodal:
        """The whole model."""
        return Multimodal(self.encoders, self.fusion, self.heads, self.unimodal_heads, self.loss_parameters, self.decoders)

    @property
    def training(self) -> "Experiment":
        """The part of the experiment that determines the trained model."""
        return dataclasses.replace(self, compress=None, attack=None)

    @property
    def outputs(self) -> dict[str, nn.Module]:
        """{output: module} of all heads and decoders."""
        unimodal = {f"{name}.{output}": head for name, heads in self.unimodal_heads.items() for output, head in heads.items()}
        return {**self.heads, **unimodal, **self.decoders}

    @property
    def selection(self) -> tuple[str, str] | None:
        """(task, metric) that selects the best step on the validation split; None for the validation loss."""
        if self.select == "loss":
            return None
        if self.select is None:
            name, task = next(iter(self.tasks.items()))
            return name, next(iter(task.metrics))
        task, _, metric = self.select.partition(".")
        while task not in self.tasks and "." in metric:  # a task's name may contain a dot
            head, _, metric = metric.partition(".")
            task = f"{task}.{head}"
        return task, metric
