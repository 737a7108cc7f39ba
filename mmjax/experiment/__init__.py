"""The Experiment value: validation, running, the command line and costs."""

from mmjax.experiment.value import Experiment, ExperimentError, main, parameter_count, resolved, summary

__all__ = ["Experiment", "ExperimentError", "main", "parameter_count", "resolved", "summary"]
