"""Word and character error rates of Whisper-base on Czech game dialogue: greedy, with the loop guard, and with the fallback.

Run: nice -n 10 python scripts/benchmarks/whisper_loops.py [clips]        Time: about 15 min on 2 busy cores for 64 clips
The clips are spaced evenly over all clips of the Debian package fillets-ng-data-cs; intervals are clustered by level.
"""

import sys
import time

import numpy as np

from mmjax.data.fillets.files import find_packages, read_lines
from mmjax.metrics.edits import edits
from mmjax.metrics.text_normal import lower_without_punctuation
from mmjax.pretrained import load
from mmjax.pretrained.transcribe import Transcriber
from mmjax.pretrained.whisper_decode import Fallback
from mmjax.pretrained.whisper_rules import LoopGuard

VARIANTS = {
    "greedy": {},
    "greedy, loop guard": {"guard": LoopGuard()},
    "fallback": {"fallback": Fallback()},
    "fallback, loop guard": {"fallback": Fallback(), "guard": LoopGuard()},
}


def rate(spoken: list[str], found: list[str], levels: list[str], split) -> str:
    """Errors per unit of the reference, and the half width of its clustered 95 % interval (linearised ratio)."""
    counts = np.array([[sum(edits(split(a), split(b))), len(split(a))] for a, b in zip(spoken, found)], float)
    errors, length = counts.sum(axis=0)
    value = errors / length
    clusters = [counts[np.array(levels) == level].sum(axis=0) for level in sorted(set(levels))]
    influence = np.array([(e - value * n) / length for e, n in clusters])
    width = 1.96 * np.sqrt(len(clusters) / (len(clusters) - 1) * np.square(influence).sum())
    return f"{value:.3f} +- {width:.3f}"


def main() -> None:
    clips = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    from mmjax.data.decode import decode_audio

    table = read_lines(find_packages(None, ("cs",)))
    rows = np.linspace(0, len(table.cells["text"]) - 1, clips).round().astype(int)
    columns = {name: [table.cells[name][row] for row in rows] for name in ("speech", "text", "level")}
    spoken = [lower_without_punctuation(text) for text in columns["text"]]
    recordings = [(decode_audio(sound, "clip"), 16_000) for sound in columns["speech"]]
    weights = load("whisper-base")
    for name, settings in VARIANTS.items():
        start = time.time()
        found = Transcriber(weights, "cs", seconds=10.0, batch_size=8, **settings)(recordings)
        found = [lower_without_punctuation(text) for text in found]
        rates = [rate(spoken, found, columns["level"], split) for split in (str.split, list)]
        longest = max(len(text.split()) for text in found)
        print(f"{name}: WER {rates[0]}, CER {rates[1]}, longest {longest} words, {time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
