"""Distillation of a trained cell into a student, which may have fewer modalities (Hinton et al., 2015, "Distilling the
knowledge in a neural network").

    data=TeacherLogits(BASE.data, run="runs/compressed", cell="float"), encoders={"image": ...}, loss=Distill("label")

The teacher's logits are a target of the data, computed once from all modalities that a row has; the student sees the modalities
of its own encoders only.
"""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float

from mmjax.data.dataset import Dataset
from mmjax.data.decode import DataError
from mmjax.data.feed import DeviceFeed, load_column
from mmjax.data.splits import folds_of, with_fold
from mmjax.losses import On
from mmjax.losses.combine import counted, pick
from mmjax.train.stages import merged
from mmjax.types import Batch

__all__ = ["ROWS", "TEACHER", "Distill", "TeacherLogits"]

TEACHER = "teacher"
ROWS = 256  # in one call of the teacher


@dataclasses.dataclass(frozen=True)
class TeacherLogits:
    """The same data with a further target, "teacher": Float[n c], the teacher's logits, averaged over its seeds.

    In the test split they are NaN, that is missing, since nothing may be learned there.
    data: any value with `load() -> Dataset` that has the teacher's modalities. run: a finished run folder. cell: the teacher's
    name in it. output: the teacher's output [b c].
    Raises RunError if the run is missing or damaged, and DataError if it has no such cell or output, or if no part of the cell
    was trained on these data and this split: another split could leak test rows.
    """

    data: Annotated[Any, tyro.conf.arg(name="")]
    run: Path = Path("runs/teacher")
    cell: str = "concat"
    output: str = "label"

    @property
    def folds(self) -> int:
        return folds_of(self.data)

    def at_fold(self, fold: int) -> "TeacherLogits":
        """The same data and teacher with this test fold."""
        return dataclasses.replace(self, data=with_fold(self.data, fold))

    def load(self) -> Dataset:
        """Loads the data and computes the logits."""
        dataset = self.data.load()
        models = self._models(dataset)
        columns = {name: load_column(dataset.columns[name]) for name in models[0].readers}
        splits, seen = dict(dataset.splits), hashlib.sha256(dataset.fingerprint.encode())
        for split, rows in dataset.splits.items():
            logits = np.mean([self._logits(model, columns, rows) for model in models], axis=0)
            seen.update(logits.tobytes())
            logits = np.full_like(logits, np.nan) if split == "test" else logits
            splits[split] = rows.replace(targets={**rows.targets, TEACHER: logits})
        return dataclasses.replace(dataset, splits=splits, fingerprint=seen.hexdigest())

    def _models(self, dataset: Dataset) -> list[Any]:
        """The models of the parts that were trained on this split."""
        from mmjax.results import load_run  # here: results import the packages that are left of them
        from mmjax.runs.folder import read_record

        run = load_run(self.run)
        if self.cell not in run:
            raise DataError(f"TeacherLogits.cell is {self.cell!r}; the cells of {self.run} are {', '.join(run)}")
        cell = run[self.cell]
        trained_on = [read_record(folder / "part.json")["identity"]["data"] for folder in cell.folders]
        found = [model for model, data in zip(cell.models, trained_on) if data == dataset.fingerprint]
        if not found:
            raise DataError(
                f"TeacherLogits.run: cell {self.cell!r} of {self.run} was trained on other data or another split; train it "
                "with the same data"
            )
        return found

    def _logits(self, model: Any, columns: Mapping[str, Any], rows: Any) -> np.ndarray:
        """Float32[n c], the mean over the seeds of one part."""
        feed, parts = DeviceFeed(columns, rows), []

        @jax.jit
        def answer(variables, frozen, batch):
            one = lambda own: model.module.apply(merged(own, frozen), batch)
            return jax.vmap(one)(variables)

        for first in range(0, len(rows), ROWS):
            index = np.arange(first, first + ROWS)
            outputs = answer(model.variables, model.frozen, feed(np.where(index < len(rows), index, -1)))
            if self.output not in outputs or outputs[self.output].ndim != 3:
                known = ", ".join(sorted(name for name, value in outputs.items() if value.ndim == 3))
                raise DataError(f"TeacherLogits.output is {self.output!r}; the outputs [b c] of the teacher are {known}")
            parts.append(np.asarray(outputs[self.output], np.float32).mean(axis=0))
        return np.concatenate(parts)[: len(rows)]


@dataclasses.dataclass(frozen=True)
class Distill:
    """(1 - weight) cross-entropy with the label + weight T^2 KL(softmax(teacher / T) || softmax(student / T)), in nats.

    The factor T^2 keeps the gradients of both terms comparable (Hinton et al., 2015, section 2). Examples without a teacher's
    target (NaN) have the first term only. With weight 0, the cross-entropy itself.

    output: the student's output [b c], whose name is that of the label. temperature: T > 0, dimensionless. weight: in [0, 1].
    teacher: the target with the teacher's logits [b c]. ValueError if a field is out of range or shapes differ.
    """

    output: str = "label"
    temperature: float = 2.0
    weight: float = 0.5
    teacher: str = TEACHER

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Any:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"Distill.temperature is {self.temperature}; it must be finite and above 0")
        if not 0 <= self.weight <= 1:
            raise ValueError(f"Distill.weight is {self.weight}; it must lie between 0 and 1")
        label = On(self.output)(outputs, batch)
        if self.weight == 0:
            return label
        return {"label": (1 - self.weight) * label, "teacher": self.weight * self._divergence(outputs, batch)}

    def _divergence(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        student = pick(outputs, self.output)
        if self.teacher not in batch.targets:
            known = ", ".join(sorted(batch.targets))
            raise ValueError(f"Distill.teacher is {self.teacher!r}; the targets are {known}: wrap the data in TeacherLogits")
        teacher = batch.targets[self.teacher]
        if student.ndim != 2 or student.shape != teacher.shape:
            raise ValueError(f"Distill compares logits [b c]; the student has {student.shape}, the teacher {teacher.shape}")
        valid = counted(self.output, batch) & ~jnp.isnan(teacher).any(axis=-1)
        scaled = lambda x: jnp.where(valid[:, None], x.astype(jnp.float32), 0) / self.temperature
        log_p, log_q = jax.nn.log_softmax(scaled(teacher)), jax.nn.log_softmax(scaled(student))
        return self.temperature**2 * jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
