"""The `Training` value of an experiment, its plan, and the facts that part.json has about it."""

from typing import Any

import numpy as np

from mmjax.describe import parameter_count
from mmjax.evaluate.statistics.estimates import finite
from mmjax.experiment.value import Experiment, ExperimentError
from mmjax.robust.prune import select_after
from mmjax.train.finite import skip_nonfinite
from mmjax.train.loop import Fit
from mmjax.train.parallel import Plan, pmapped, single
from mmjax.train.sharded import DEFAULT_RULES, sharded
from mmjax.train.stages import does_learn, resolve, split
from mmjax.train.training import Schedule, Training

__all__ = ["first_selectable", "plan_of", "training_facts", "training_of"]


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


def training_facts(experiment: Experiment, training: Training, fitted: Fit, frozen: Any) -> dict[str, Any]:
    """The entries of part.json about the training: parameters, best steps, validation scores and stages."""
    params, seeds = fitted.best.variables["params"], len(fitted.best.step)
    stored_once = parameter_count(frozen.get("params", {}))
    step_of_record = {record["step"]: record for record in fitted.curves}
    metric = "loss" if experiment.selection is None else experiment.selection[1]
    best_step = np.asarray(fitted.best.step).tolist()
    value = lambda record: record[f"validation_{metric}"]
    stages = []
    for stage, steps in training.resolved if experiment.stages else ():
        inside = [record for record in fitted.curves if steps.start < record["step"] <= steps.stop]
        stages.append(
            {
                "first": steps.start + 1,
                "last": steps.stop,
                "learns": list(stage.learns),
                "parameters": parameter_count(split(params, stage.learns)[0]) // seeds,
                "validation": finite(float(np.mean(value(inside[-1])))) if inside else None,
            }
        )
    return {
        "parameters": parameter_count(params) // seeds + stored_once,
        "best_step": best_step,
        "validation": [value(step_of_record[step])[seed] for seed, step in enumerate(best_step)],
        "stages": stages,
    }
