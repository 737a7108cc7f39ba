"""The `Training` value of an experiment, and its plan."""

from typing import Any

from mmjax.experiment.value import Experiment, ExperimentError
from mmjax.robust.prune import select_after
from mmjax.train.finite import skip_nonfinite
from mmjax.train.parallel import Plan, pmapped, single
from mmjax.train.sharded import DEFAULT_RULES, sharded
from mmjax.train.stages import does_learn, resolve
from mmjax.train.training import Schedule, Training

__all__ = ["first_selectable", "plan_of", "training_of"]


def plan_of(experiment: Experiment, options: Any) -> Plan:
    """The plan of --plan and --mesh. ExperimentError if the mesh does not fit the devices."""
    if options.plan != "sharded":
        return {"single": single, "pmap": pmapped}[options.plan]()
    try:
        return sharded(options.mesh, (*experiment.placement, *DEFAULT_RULES))
    except ValueError as error:
        raise ExperimentError(str(error)) from error


def training_of(experiment: Experiment, plan: Plan | None = None, steps_per_call: int = 1) -> Training:
    """The training of an experiment under a plan; None for one device."""
    schedule = Schedule(
        experiment.steps,
        experiment.evaluate_every,
        experiment.checkpoint_every,
        steps_per_call,
        select_after=first_selectable(experiment),
    )
    return Training(
        experiment.model,
        experiment.loss,
        experiment.optim,
        schedule,
        experiment.stages,
        experiment.augment,
        experiment.gradient,
        (skip_nonfinite,) if experiment.skip_nonfinite else (),
        experiment.average,
        plan or single(),
    )


def first_selectable(experiment: Experiment) -> int:
    """The number of steps after which an evaluation may select the best step: when every head and decoder has begun to learn,
    and pruned weights have their final sparsity.

    Earlier, the score could come from a module with its initial weights, or from a model without the sparsity of its optimiser.
    """
    group = lambda name: "decoders" if name in experiment.decoders else "unimodal_heads" if "." in name else "heads"
    paths = [f"{group(name)}_{name.replace('.', '_')}" for name in experiment.outputs]
    stages = resolve(experiment.stages, experiment.steps)
    starts = (next((steps.start for stage, steps in stages if does_learn(path, stage.learns)), 0) for path in paths)
    return max(select_after(stages, experiment.optim), *starts)
