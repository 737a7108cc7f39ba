"""Experiments: the Experiment value, its validation, running, the command line and costs."""

import signal
import sys
import threading

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
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if is_main else None  # SIGTERM stops as Ctrl-C does
    try:
        from mmjax.experiment.cli import run  # not at the top: importing an experiment file needs no command line

        run(ablations, full, by_name)
    except KeyboardInterrupt:  # outside of training, which stops after its step (`mmjax.train.stop`)
        print("stopped at once; continue from the last checkpoint with the same command and --resume", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)
