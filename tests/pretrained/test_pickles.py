"""Files of torch.save before PyTorch 1.6, assembled by hand from pickle operations: valid ones are read, others refused."""

import pickle
import struct

import numpy as np
import pytest

from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.pickles import MAGIC, VERSION, read_pickled

FLOAT, LONG = b"ctorch\nFloatStorage\n", b"ctorch\nLongStorage\n"
NUMBERS = np.arange(12, dtype=np.float32)


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integers(*values):
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"


def tensor(sizes=(3, 4), strides=(4, 1), offset=0, size=12, key="7", kind=FLOAT, build=b"ctorch._utils\n_rebuild_tensor_v2\n"):
    """_rebuild_tensor_v2(storage, offset, sizes, strides, requires_grad, backward_hooks)"""
    storage = b"(" + text("storage") + kind + text(key) + text("cpu") + b"J" + struct.pack("<i", size) + b"NtQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    return (
        build
        + b"("
        + storage
        + b"J"
        + struct.pack("<i", offset)
        + integers(*sizes)
        + integers(*strides)
        + b"\x89"
        + hooks
        + b"tR"
    )


def dictionary(**entries):
    """An OrderedDict with _metadata, as state_dict() gives it."""
    items = b"".join(text(name) + value for name, value in entries.items())
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u}" + text("_metadata") + b"}sb."


def written(file, contents, keys=("7",), storages=((12, NUMBERS.tobytes()),), magic=MAGIC, little=True):
    head = [pickle.dumps(value, protocol=2) for value in (magic, VERSION, {"little_endian": little})]
    body = [struct.pack("<q", size) + numbers for size, numbers in storages]
    file.write_bytes(b"".join([*head, contents, pickle.dumps(list(keys), protocol=2), *body]))
    return file


def test_tensors_share_a_storage_and_have_strides(tmp_path):
    contents = dictionary(
        complete=tensor(),
        turned=tensor(sizes=(4, 3), strides=(1, 4)),
        part=tensor(sizes=(2,), strides=(5,), offset=3),
        scalar=tensor(sizes=(), strides=(), key="8", kind=LONG, size=1),
        empty=tensor(sizes=(0, 4), strides=(4, 1), offset=12),
    )
    storages = [(12, NUMBERS.tobytes()), (1, np.array([-5], np.int64).tobytes())]
    found = read_pickled(written(tmp_path / "a.pth", contents, ("7", "8"), storages))
    np.testing.assert_array_equal(found["complete"], NUMBERS.reshape(3, 4))
    np.testing.assert_array_equal(found["turned"], NUMBERS.reshape(3, 4).T)
    np.testing.assert_array_equal(found["part"], [3, 8])
    assert found["scalar"].shape == () and found["scalar"] == -5 and found["scalar"].dtype == np.int64
    assert found["empty"].shape == (0, 4)


EVIL = b"cposix\nsystem\n(" + text("echo executed > executed") + b"tR"
REFUSED = {
    "a program": (dictionary(a=EVIL), r"posix\.system"),
    "a builtin": (dictionary(a=tensor(build=b"cbuiltins\neval\n")), r"builtins\.eval"),
    "another rebuild": (dictionary(a=tensor(build=b"ctorch._utils\n_rebuild_parameter\n")), "_rebuild_parameter"),
    "another storage": (dictionary(a=tensor(kind=b"ctorch\nHalfStorage\n")), r"torch\.HalfStorage"),
    "an object": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
    "a name from the stack": (b"\x80\x04" + text("posix") + text("system") + b"\x93.", "STACK_GLOBAL"),
    "a far put": (b"\x80\x02}r\xff\xff\xff\x7f.", "LONG_BINPUT"),
    "a number": (dictionary(a=b"K\x05"), "'a' is not a tensor"),
    "a list": (b"\x80\x02].", "no dictionary"),
    "beyond the end": (dictionary(a=tensor(sizes=(4, 4))), "exceed a storage of 12"),
    "an offset beyond": (dictionary(a=tensor(sizes=(), strides=(), offset=12)), "exceed"),
    "long strides": (dictionary(a=tensor(strides=(2**31 - 1, 1))), "exceed"),
    "repeated": (dictionary(a=tensor(sizes=(2**31 - 1, 4), strides=(0, 1))), "exceed"),
    "negative": (dictionary(a=tensor(sizes=(-3, 4))), "sizes"),
    "backwards": (dictionary(a=tensor(strides=(-4, 1), offset=8)), "strides"),
    "more strides": (dictionary(a=tensor(strides=(4, 1, 1))), "strides"),
    "two of one key": (dictionary(a=tensor(), b=tensor(sizes=(2,), strides=(1,), size=2)), "storages"),
    "an unknown key": (dictionary(a=tensor(key="9")), "storages"),
    "another size": (dictionary(a=tensor(size=13)), "12 numbers"),
    "a dictionary that calls": (dictionary(a=b"ccollections\nOrderedDict\nK\x05R"), "complete"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_other_pickles_are_refused(wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    contents, message = REFUSED[wrong]
    with pytest.raises(WeightsError, match=rf"a\.pth: .*{message}"):
        read_pickled(written(tmp_path / "a.pth", contents))
    assert not (tmp_path / "executed").exists()


def test_incomplete_files_are_refused(tmp_path):
    file = written(tmp_path / "a.pth", dictionary(a=tensor()))
    data = file.read_bytes()
    read_pickled(file)
    for cut in range(len(data)):
        file.write_bytes(data[:cut])
        with pytest.raises(WeightsError, match=r"a\.pth"):
            read_pickled(file)
    file.write_bytes(data + b"\x00")
    with pytest.raises(WeightsError, match="more bytes"):
        read_pickled(file)
    with pytest.raises(WeightsError, match="lacks the header"):
        read_pickled(written(file, dictionary(a=tensor()), magic=5))
    with pytest.raises(WeightsError, match="lacks the header"):
        read_pickled(written(file, dictionary(a=tensor()), little=False))


def test_a_changed_byte_is_read_or_refused(tmp_path):
    file = written(tmp_path / "a.pth", dictionary(a=tensor(), b=tensor(sizes=(4, 3), strides=(1, 4))))
    data, random = file.read_bytes(), np.random.default_rng(0)
    for _ in range(500):
        changed = bytearray(data)
        changed[random.integers(len(data))] = random.integers(256)
        file.write_bytes(changed)
        try:
            found = read_pickled(file)
        except WeightsError:
            continue
        assert all(array.size <= 12 for array in found.values())
