"""Hostile folders of weights: {name: ({file: content}, pattern of the error)}.

The files replace those of a folder with a tiny BERT. A content is bytes; a function, which writes the file; or None, which
removes it. A hole in a file is as long as it is declared, but takes no space on the disk.
"""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.pretrained.tiny import random_tensors

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
WORD = "embeddings.word_embeddings.weight"
INCOMPLETE = r"model\.safetensors: not a complete \.safetensors file: "
Content = bytes | Callable[[Path], None] | None


def tensors(entries: object, data: bytes = b"") -> bytes:
    """A .safetensors file with any header: an object, or its bytes."""
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + data


def entry(shape: object, begin: object = 0, end: object = None, dtype: object = "F32") -> dict:
    end = begin + 4 * int(np.prod(shape)) if end is None else end
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def bert(**changes: object) -> bytes:
    """The tensors of the tiny BERT. changes: an array, or None to remove one; "word" is the first."""
    arrays: dict = random_tensors()
    for name, array in changes.items():
        arrays[WORD if name == "word" else name] = array
    kinds = {np.dtype(np.float32): "F32", np.dtype(np.float64): "F64", np.dtype(np.int32): "I32", np.dtype(bool): "BOOL"}
    header, data = {}, b""
    for name, array in arrays.items():
        if array is not None:
            header[name] = entry(list(array.shape), len(data), len(data) + array.nbytes, kinds[array.dtype])
            data += array.tobytes()
    return tensors(header, data)


def hole(start: bytes, size: int) -> Callable[[Path], None]:
    """Writes a file of this size: these bytes, then a hole."""

    def write(file: Path) -> None:
        file.write_bytes(start)
        with file.open("r+b") as opened:
            opened.truncate(size)

    return write


def only(name: str, size: int) -> Callable[[Path], None]:
    """Writes a .safetensors file with one float32 tensor of this many bytes."""
    head = tensors({name: entry([size // 4])})
    return hole(head, len(head) + size)


def huge_word(file: Path) -> None:
    """Writes the tiny BERT with a word embedding of 8 GB, the last tensor of the file."""
    small = bert(word=None)
    length = 8 + int.from_bytes(small[:8], "little")
    header, data = json.loads(small[8:length]), small[length:]
    start = tensors(header | {WORD: entry([2**28, 8], len(data))}, data)
    hole(start, len(start) + 2**33)(file)


def word(value: float, dtype: type = np.float32) -> np.ndarray:
    array = np.zeros((12, 8), dtype)
    array[3, 5] = value
    return array


SAFETENSORS: dict[str, tuple[Content, str]] = {
    "an empty file": (b"", INCOMPLETE),
    "seven bytes": (b"\1" * 7, INCOMPLETE),
    "no header": (struct.pack("<Q", 0), INCOMPLETE),
    "a header of 2^63 bytes": (struct.pack("<Q", 2**63) + b"{}", INCOMPLETE + "its header should have"),
    "a header of 4 GB": (hole(struct.pack("<Q", 2**32), 2**32 + 8), INCOMPLETE + r"its header has 4,294,967,296 bytes"),
    "a header beyond the end": (struct.pack("<Q", 999) + b"{}", INCOMPLETE + "its header should have 999 bytes"),
    "a header that is no JSON": (tensors(b"junk"), INCOMPLETE),
    "a header that is no UTF-8": (tensors(b'{"\xff": 1}'), INCOMPLETE),
    "a header that is a list": (tensors([]), INCOMPLETE + "its header is not a JSON object"),
    "a header nested 100,000 times": (tensors(b"[" * 100_000), INCOMPLETE + "its header is nested too deeply"),
    "a header of 900,000 lists": (tensors(b"[" + b"[]," * 900_000 + b"[]]"), INCOMPLETE),
    "a name that occurs twice": (tensors(b'{"a": 1, "a": 2}'), INCOMPLETE + "a name occurs twice"),
    "an entry that is a number": (tensors({"a": 5}), INCOMPLETE + "a has dtype None"),
    "an entry without offsets": (tensors({"a": {"dtype": "F32", "shape": [1]}}), INCOMPLETE + "a needs a shape"),
    "an unknown dtype": (tensors({"a": entry([1], dtype="F8_E4M3")}, bytes(4)), INCOMPLETE + "a has dtype F8_E4M3; supported"),
    "a dtype that is a list": (tensors({"a": entry([1], dtype=[])}, bytes(4)), INCOMPLETE + "a has dtype"),
    "a negative size": (tensors({"a": entry([-1, -1])}, bytes(4)), INCOMPLETE + "a needs a shape"),
    "a size that is a float": (tensors({"a": entry([1.0])}, bytes(4)), INCOMPLETE + "a needs a shape"),
    "a size that is true": (tensors({"a": entry([True])}, bytes(4)), INCOMPLETE + "a needs a shape"),
    "a hundred axes": (tensors({"a": entry([1] * 100)}, bytes(4)), INCOMPLETE + "a needs a shape"),
    "a shape of 2^124 numbers": (tensors({"a": entry([2**62, 2**62], end=16)}, bytes(16)), INCOMPLETE + "a has the bytes"),
    "offsets in reverse": (tensors({"a": entry([1], 4, 0)}, bytes(4)), INCOMPLETE + "a has the bytes"),
    "negative offsets": (tensors({"a": entry([1], -4, 0)}, bytes(4)), INCOMPLETE + "a needs a shape"),
    "bytes of another shape": (tensors({"a": entry([2], 0, 4)}, bytes(4)), INCOMPLETE + "a has the bytes"),
    "tensors that overlap": (tensors({"a": entry([2]), "b": entry([2], 4)}, bytes(12)), INCOMPLETE + "b begins at byte 4"),
    "a gap": (tensors({"a": entry([1]), "b": entry([1], 8)}, bytes(12)), INCOMPLETE + "b begins at byte 8"),
    "a tensor beyond the end": (tensors({"a": entry([2**40])}, bytes(8)), INCOMPLETE + "its tensors have"),
    "a byte too few": (bert()[:-1], INCOMPLETE + "its tensors have"),
    "a byte too many": (bert() + b"\0", INCOMPLETE + "its tensors have"),
    "an unknown tensor of 8 GB": (only("extra", 2**33), "missing "),
    "a known tensor of 8 GB": (huge_word, rf"{WORD} of shape \[268435456, 8\] gives 2147483648 numbers"),
    "NaN": (bert(word=word(np.nan)), f"{WORD} has values that are NaN or infinite"),
    "infinity": (bert(word=word(np.inf)), f"{WORD} has values that are NaN or infinite"),
    "a number beyond float32": (bert(word=word(1e300, np.float64)), f"{WORD} has values that are NaN or infinite"),
    "integers": (bert(word=word(1, np.int32)), f"{WORD} is int32; it must be floating point"),
    "truth values": (bert(word=word(1, bool)), f"{WORD} is bool; it must be floating point"),
    "a missing tensor": (bert(word=None), "missing "),
    "a surplus tensor": (bert(extra=word(1)), "BERT has no parameters for extra"),
    "a surplus tensor with a name of two lines": (bert(**{"a\nb": word(1)}), r"no parameters for 'a\\nb'"),
    "a surplus tensor with an endless name": (bert(**{"a" * 100_000: word(1)}), r"no parameters for a{100}\.\.\."),
    "another shape": (bert(word=word(1)[:5]), rf"{WORD} of shape \[5, 8\] gives 40 numbers, but .* must be \[12, 8\]"),
    "a transposed shape": (bert(word=word(1).T), rf"{WORD} of shape \[8, 12\] gives \[8, 12\], but .* must be \[12, 8\]"),
    "a number for an array": (bert(word=np.float32(1)), rf"{WORD} of shape \[\] gives 1 numbers"),
}


def index(shard: object) -> dict[str, Content]:
    """A folder with an index of one shard."""
    content = shard if isinstance(shard, bytes) else json.dumps({"weight_map": {WORD: shard}}).encode()
    return {WEIGHTS: None, INDEX: content}


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def npy(shape: str, data: bytes = b"", dtype: str = "<f4") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + data


def declared(size: int) -> bytes:
    """An archive whose directory declares another size of its only file."""
    data = zipped("a.npy", npy("(1,)", bytes(4)))
    at = data.index(b"PK\x01\x02") + 24
    return data[:at] + struct.pack("<I", size) + data[at + 4 :]


class Executed:
    def __reduce__(self):
        return (open, ("executed", "w"))


PICKLE = pickle.dumps(Executed())
UNREADABLE = r"a\.npz: not a readable \.npz file: "
FILES: dict[str, tuple[dict[str, Content], str]] = {
    **{f"safetensors: {name}": ({WEIGHTS: content}, pattern) for name, (content, pattern) in SAFETENSORS.items()},
    **{
        f"pickle: {name}": ({WEIGHTS: None, name: PICKLE}, "this is a pickle, which can run any program")
        for name in ("pytorch_model.bin", "model.pt", "model.pth", "model.pkl", "model.ckpt")
    },
    "pickle: named safetensors": ({WEIGHTS: PICKLE}, INCOMPLETE),
    "pickle: in an npz": ({WEIGHTS: None, "a.npz": npz(x=np.array([{}], object))}, UNREADABLE + "Object arrays"),
    "no weights": ({WEIGHTS: None}, "the folder has no model.safetensors"),
    "other weights": ({WEIGHTS: None, "flax_model.msgpack": b"junk"}, "the folder has no model.safetensors"),
    "a GGUF file that is cut": ({WEIGHTS: None, "model.gguf": b"GGUF"}, "not a complete GGUF file"),
    "index: no JSON": (index(b"junk"), "not JSON"),
    "index: a list": (index(b"[]"), "it must hold a JSON object"),
    "index: no map": (index(b"{}"), "must be JSON with a weight_map"),
    "index: a number": (index(5), "must be JSON with a weight_map"),
    "index: the folder above": (index("../model.safetensors"), "must be in the folder of the index"),
    "index: two folders above": (index(".."), "must be in the folder of the index"),
    "index: any file": (index("/etc/passwd"), "must be in the folder of the index"),
    "index: a null character": (index("a\0b"), r"the shard 'a\\x00b' is missing"),
    "index: an endless name": (index("a" * 5_000), r"the shard a{200}\.\.\. is missing"),
    "index: a missing file": (index("b.safetensors"), "the shard b.safetensors is missing"),
    "index: a pickle": (index("a.bin") | {"a.bin": PICKLE}, "not a complete"),
    "index: other tensors": (index("b.safetensors") | {"b.safetensors": bert(word=None)}, "the index and b.safetensors differ"),
    "index: 4 GB": ({WEIGHTS: None, INDEX: hole(b"{", 2**32)}, "it has 4,294,967,296 bytes"),
    "npz: no archive": ({WEIGHTS: None, "a.npz": b"junk"}, UNREADABLE),
    "npz: a bomb": ({WEIGHTS: None, "a.npz": npz(x=np.zeros(25_000_000, np.float32))}, UNREADABLE + "its .* bytes expand to"),
    "npz: a declared bomb": ({WEIGHTS: None, "a.npz": declared(2**32 - 2)}, UNREADABLE + "its .* bytes expand to"),
    "npz: 4 TB": ({WEIGHTS: None, "a.npz": zipped("a.npy", npy("(1000000000000,)"))}, UNREADABLE),
    "npz: a negative shape": ({WEIGHTS: None, "a.npz": zipped("a.npy", npy("(-5,)"))}, UNREADABLE),
    "npz: a shape that is a program": ({WEIGHTS: None, "a.npz": zipped("a.npy", npy("open('executed', 'w')"))}, UNREADABLE),
    "npz: objects": ({WEIGHTS: None, "a.npz": zipped("a.npy", npy("(1,)", PICKLE, "|O"))}, UNREADABLE + "Object arrays"),
    "npz: cut": ({WEIGHTS: None, "a.npz": npz(x=np.ones(100))[:-30]}, UNREADABLE),
    "npz: a path": ({WEIGHTS: None, "a.npz": zipped("../../executed.npy", npy("(1,)", bytes(4)))}, "missing "),
    "npz: two files": ({WEIGHTS: None, "a.npz": b"", "b.npz": b""}, "no single .npz file"),
}


def ctranslate2(*parts: bytes, kind: bytes = b"WhisperSpec", count: int = 1) -> bytes:
    head = struct.pack("<I", 6) + _named(kind) + struct.pack("<II", 3, count)
    return head + b"".join(parts)


def _named(name: bytes) -> bytes:
    return struct.pack("<H", len(name) + 1) + name + b"\0"


def variable(shape: tuple[int, ...], size: int, data: bytes = b"", kind: int = 0) -> bytes:
    return _named(b"a") + struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, kind, size) + data


NO_ALIAS = struct.pack("<I", 0)
CTRANSLATE2 = {
    "empty": (b"", "given: truncated or damaged: 4 more bytes"),
    "another model": (ctranslate2(kind=b"OtherSpec"), "only WhisperSpec"),
    "4 billion variables": (ctranslate2(count=2**32 - 1), "truncated or damaged"),
    "a name beyond the end": (ctranslate2(struct.pack("<H", 65_535)), "truncated or damaged"),
    "a name without end": (ctranslate2(struct.pack("<H", 1) + b"a"), "is not zero-terminated ASCII"),
    "an unknown type": (ctranslate2(variable((1,), 4, bytes(4), kind=9)), "unknown type 9"),
    "4 GB": (ctranslate2(variable((2**30,), 2**32 - 4)), "do not fit float32|truncated or damaged"),
    "255 axes": (ctranslate2(variable((2**32 - 1,) * 255, 4, bytes(4))), "do not fit float32"),
    "too many bytes": (ctranslate2(variable((1,), 4, bytes(4)), NO_ALIAS, b"more"), "4 unexpected bytes at the end"),
    "an alias of nothing": (ctranslate2(struct.pack("<I", 1), _named(b"b"), _named(b"c"), count=0), "b is an alias of c"),
}
