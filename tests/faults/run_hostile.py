"""Reads every hostile file in one process with little memory; the results go to standard output, one JSON object per line."""

import json
import resource
import sys
import time
from pathlib import Path

import jax
import numpy as np

from mmjax.data.decode import audio_seconds, decode_audio, decode_image, decode_text
from mmjax.pretrained import load
from mmjax.pretrained.ctranslate2 import read_variables
from tests.faults import hostile_media, hostile_settings, hostile_weights
from tests.pretrained.tiny import CONFIG, random_tensors

MEMORY = 500_000_000


def cases(folder: Path):
    """(name, function that reads the file), after the file is written."""
    for name, (data, _) in hostile_media.IMAGES.items():
        yield f"image: {name}", lambda: decode_image(data, "given")
    for name, (data, _) in hostile_media.AUDIO.items():
        yield f"audio: {name}", lambda: decode_audio(data, "given")
    for name, (data, _) in hostile_media.TEXTS.items():
        yield f"text: {name}", lambda: decode_text(data, "given")
    for name, (data, _) in hostile_weights.CTRANSLATE2.items():
        yield f"ctranslate2: {name}", lambda: read_variables(data, "given")
    yield "audio seconds: noise", lambda: audio_seconds(b"noise", "given")
    for number, (name, (files, _)) in enumerate((hostile_weights.FILES | hostile_settings.FILES).items()):
        given = folder / f"{number}" / "given"
        given.mkdir(parents=True)
        for file, content in ({"config.json": json.dumps(CONFIG).encode(), "model.safetensors": WEIGHTS} | files).items():
            if callable(content):
                content(given / file)
            elif content is not None:
                (given / file).write_bytes(content)
        yield name, lambda: load(given)


def result(name: str, read) -> dict:
    start = time.process_time()
    try:
        read()
        error = None
    except BaseException as found:
        error = found
    seconds = time.process_time() - start
    return {"name": name, "error": type(error).__name__, "message": str(error), "seconds": seconds}


WEIGHTS = hostile_weights.bert()
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    valid = folder / "valid"
    valid.mkdir()
    (valid / "config.json").write_text(json.dumps(CONFIG))
    (valid / "model.safetensors").write_bytes(WEIGHTS)
    found = load(valid).variables["params"]["word"]["embedding"]  # also compiles and imports what the cases need
    np.testing.assert_array_equal(found, random_tensors()["embeddings.word_embeddings.weight"])
    hostile_media.sound("FLAC")
    jax.block_until_ready(jax.numpy.zeros(1))
    pages = int(Path("/proc/self/statm").read_text().split()[5])  # of data and stack
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # counts what is written, not views of files
    for name, read in cases(folder):
        print(json.dumps(result(name, read)), flush=True)
