"""`python -m mmjax.predict RUN CELL --image a.png --text "a red car"`: answers of a trained cell to new inputs."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["EPILOG", "TOP", "main"]

EPILOG = """Each modality of the cell is a flag, such as --image FILE, --audio FILE or --text TEXT; give a flag several values
for several examples, and leave out modalities that are missing. A series or vector is a .npy file."""
TOP = 3  # classes that are shown


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line and prints the answers. Exits with one line for an error."""
    parser = argparse.ArgumentParser(
        prog="python -m mmjax.predict", description="Answers of a trained cell to new inputs.", epilog=EPILOG
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("cell", metavar="CELL", help="a cell of the run")
    parser.add_argument("--each-seed", action="store_true", help="print the answers of each seed, not their mean")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given, rest = parser.parse_known_args(_names_first(sys.argv[1:] if arguments is None else arguments))
    from mmjax.data.decode import DataError
    from mmjax.describe import DescribeError
    from mmjax.pretrained.files import WeightsError
    from mmjax.results import load_run
    from mmjax.runs.schema import RunError

    try:
        cell = load_run(given.run)[given.cell]
        inputs = _inputs(parser, list(cell.models[0].readers), rest)
        answers = cell.predict(inputs, each_seed=given.each_seed)
    except KeyError as error:
        sys.exit(f"error: {error.args[0]}")
    except (DataError, DescribeError, RunError, WeightsError, ImportError, ValueError) as error:
        sys.exit(f"error: {error}")
    if given.json:
        print(json.dumps(answers, default=lambda array: array.tolist(), indent=1))
        return
    for task, found in answers.items():
        for seed, of_seed in enumerate(found if given.each_seed else [found]):
            name = f"{task}, seed {cell.seeds[seed]}" if given.each_seed else task
            for number, line in enumerate(_lines(of_seed, cell.classes.get(getattr(cell.tasks[task], "name", task)))):
                print(f"{name}[{number}]: {line}")


def _names_first(arguments: list[str]) -> list[str]:
    """The arguments with RUN and CELL before the flags: after a flag they would be its values."""
    run = next((i for i, argument in enumerate(arguments) if (Path(argument) / "run.json").is_file()), 0)
    return [*arguments[run : run + 2], *arguments[:run], *arguments[run + 2 :]]


def _inputs(parser: argparse.ArgumentParser, modalities: list[str], rest: list[str]) -> dict[str, list[Any]]:
    """The raw inputs from the flags of the modalities; exits for other flags."""
    flags = argparse.ArgumentParser(prog=parser.prog, usage=argparse.SUPPRESS, add_help=False, allow_abbrev=False)
    for name in modalities:
        flags.add_argument(f"--{name}", nargs="+", default=[], dest=name)
    values, unknown = flags.parse_known_args(rest)
    if unknown:
        parser.exit(2, f"error: unknown argument {unknown[0]!r}; the modalities of the cell are --{', --'.join(modalities)}\n")
    return {name: [_value(value) for value in given] for name, given in vars(values).items() if given}


def _value(text: str) -> Any:
    """The array of a .npy file; other values as they are: a path or a text."""
    if not text.endswith(".npy"):
        return text
    try:
        return np.load(text, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{text}: {error}; it must be a .npy file of numbers") from None


def _lines(answers: dict[str, np.ndarray], classes: tuple[str, ...] | None) -> list[str]:
    """A line for each example: the prediction, and the most probable classes."""
    lines = []
    for number, predicted in enumerate(answers.get("predicted", next(iter(answers.values())))):
        line = f"{predicted:.4g}" if isinstance(predicted, np.floating) else str(predicted)
        probability = answers.get("probability")
        if classes and probability is not None and probability[number].ndim == 1:
            best = np.argsort(-probability[number], kind="stable")[:TOP]
            line += f" ({', '.join(f'{classes[k]} {probability[number][k]:.3f}' for k in best)})"
        lines.append(line)
    return lines


if __name__ == "__main__":
    main()
