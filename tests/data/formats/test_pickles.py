"""Pickles of arrays are read by stand-ins: every value that numpy and Python write comes back, and no code is executed."""

import collections
import os
import pickle
import struct

import numpy as np
import pytest

from mmjax.data.decode import DataError
from mmjax.data.formats.pickles import read_arrays_pickle

VALUES = {
    "floats": np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big endian": np.arange(4, dtype=">f8"),
    "half": np.arange(3, dtype=np.float16),
    "bools": np.array([True, False]),
    "texts": np.array(["a", "büro"]),
    "bytes": np.array([b"a", b"bc"]),
    "empty": np.zeros((0, 4)),
    "scalar": np.float32(2.5),
    "scalar text": np.str_("x"),
    "a list": [1, 2.5, "x", None, True, b"\xff\x00", 1 + 2j, 10**30],
    "a tuple": ({"k": (1, 2)}, {3, 4}, frozenset({5})),
    "ordered": collections.OrderedDict([("b", 1), ("a", np.arange(2))]),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_values_come_back(tmp_path, protocol):
    file = tmp_path / "data.pkl"
    objects = np.empty(3, object)
    objects[:] = ["one", None, "two"]
    file.write_bytes(pickle.dumps(VALUES | {"objects": objects}, protocol=protocol))
    found = read_arrays_pickle(file)
    assert found["objects"].tolist() == ["one", None, "two"]
    for name, value in VALUES.items():
        if isinstance(value, np.ndarray):
            assert found[name].dtype == value.dtype and found[name].shape == value.shape
            np.testing.assert_array_equal(found[name], value)
        elif name == "ordered":
            assert list(found[name]) == ["b", "a"] and found[name]["a"].tolist() == [0, 1]
        else:
            assert found[name] == value


def test_a_pickle_of_python_2(tmp_path):
    """As Python 2 wrote {"x": numpy.array([1.0, 2.0])} with protocol 2: arrays keep their bytes in a str."""
    data = (
        b"\x80\x02}q\x00U\x01xq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10"
        + struct.pack("<2d", 1, 2)
        + b"tbs."
    )
    (tmp_path / "old.pkl").write_bytes(data)
    assert read_arrays_pickle(tmp_path / "old.pkl")["x"].tolist() == [1, 2]


class Calls:
    """A pickle that calls a function when it is read."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


HOSTILE = {
    "a command": (lambda folder: pickle.dumps(Calls(os.system, f"touch {folder}/executed")), "has posix.system; only NumPy"),
    "eval": (lambda folder: pickle.dumps(Calls(eval, f"open('{folder}/executed', 'w')")), "has builtins.eval"),
    "a getattr": (lambda folder: pickle.dumps(Calls(getattr, "x", "upper")), "has builtins.getattr"),
    "a loader of numpy": (lambda folder: b"\x80\x02cnumpy\nload\n(X\x01\x00\x00\x00xtR.", "has numpy.load"),
    "a dotted name": (lambda folder: b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.", "has numpy.ndarray.dump"),
    "a class of ours": (lambda folder: pickle.dumps(Calls(DataError, "x")), "has mmjax.data.decode.DataError"),
    "an instance": (lambda folder: b"(i__main__\nC\n.", "the operation INST"),
    "a huge index": (lambda folder: b"\x80\x02K\x01r\xff\xff\xff\x7f.", "the operation LONG_BINPUT"),
    "a persistent id": (lambda folder: b"Pone\n.", "the operation PERSID"),
    "a huge array": (lambda folder: array_of("f8", (10**12,), b""), r"an array float64\[1000000000000\] of another number of"),
    "an array below 0": (lambda folder: array_of("f8", (-1,), b""), "an array without shape and dtype"),
    "pointers": (lambda folder: array_of("O", (1,), b"\x41" * 8), "an array of 1 objects without its values"),
    "an invalid character": (lambda folder: array_of("U1", (1,), b"\xff\xff\xff\x7f"), "a text with an invalid character"),
    "a dtype of fields": (lambda folder: array_of("V8", (1,), b"\x41" * 8), "the dtype 'V8'"),
    "many zero bytes": (lambda folder: pickle.dumps(Calls(bytearray, 10**12)), "has bytes that are not given"),
    "a list in itself": (lambda folder: b"\x80\x02]q\x00h\x00a.", "nested too deeply"),
    "cut off": (lambda folder: pickle.dumps(VALUES)[:-200], "the pickle is damaged"),
    "not a pickle": (lambda folder: b"PK\x03\x04" + bytes(50), "the pickle is damaged"),
    "empty": (lambda folder: b"", "the pickle is damaged"),
}


def array_of(dtype, shape, data):
    """The pickle of an array with this state, whatever it is."""
    text = lambda value: b"X" + struct.pack("<I", len(value)) + value
    numbers = b"(" + b"".join(pickle.dumps(n, 2)[2:-1] for n in shape) + b"t"
    state = b"(K\x01" + numbers + b"cnumpy\ndtype\n" + text(dtype.encode()) + b"\x89\x88\x87R\x89"
    start = b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    return start + state + b"B" + struct.pack("<I", len(data)) + data + b"tb."


@pytest.mark.parametrize("name", HOSTILE)
def test_everything_else_is_one_line(tmp_path, name):
    make, message = HOSTILE[name]
    (tmp_path / "bad.pkl").write_bytes(make(tmp_path))
    with pytest.raises(DataError, match=message) as raised:
        read_arrays_pickle(tmp_path / "bad.pkl")
    assert "bad.pkl" in str(raised.value) and "\n" not in str(raised.value) and len(str(raised.value)) < 400
    assert not (tmp_path / "executed").exists()


def test_the_helper_makes_real_arrays(tmp_path):
    (tmp_path / "good.pkl").write_bytes(array_of("f8", (2,), struct.pack("<2d", 3, 4)))
    assert read_arrays_pickle(tmp_path / "good.pkl").tolist() == [3, 4]
    (tmp_path / "flags.pkl").write_bytes(array_of("b1", (3,), b"\x00\x01\x07"))
    assert read_arrays_pickle(tmp_path / "flags.pkl").view(np.uint8).tolist() == [0, 1, 1]  # a bool is one of two bytes
    assert pickle.loads((tmp_path / "good.pkl").read_bytes()).tolist() == [3, 4]
