"""The Experiment value: validation, running, the command line and costs."""

from mmjax.experiment.value import Experiment, ExperimentError, main

__all__ = ["Experiment", "ExperimentError", "main"]
