"""Experiments: the Experiment value, its validation, running, the command line and costs."""

from mmjax.experiment.value import Experiment, ExperimentError

__all__ = ["Experiment", "ExperimentError", "main"]


def main(
    ablations: dict[str, Experiment],
    full: dict[str, Experiment] | None = None,
    by_name: dict[str, Experiment] | None = None,
) -> None:
    """The command line of an experiment file (see `mmjax.experiment.cli`).

    full: the cells in the size of the published models, for `--full`. by_name: cells that run only if they are named, such as
    those that fetch weights.
    """
    from mmjax.train.stop import stopped_at_once

    with stopped_at_once():
        from mmjax.experiment.cli import run  # not at the top: importing an experiment file needs no command line

        run(ablations, full, by_name)
