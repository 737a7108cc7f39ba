"""What cannot become a set is refused when it is read, in one line that names the row or field."""

import json
import os

import pytest

from mmjax.data.build.build import build
from mmjax.data.build.options import Options
from mmjax.data.build.read import read_items
from mmjax.data.decode import DataError
from tests.data.build.files import drawing, encoded


@pytest.mark.parametrize("name", ["../../evil", "..", "/evil", "a\\b", "c:evil", ".hidden", "evil ", "e\nvil", ""])
def test_a_modality_has_the_name_of_a_folder(tmp_path, name):
    """Else its files would be written outside the set."""
    (tmp_path / "data.jsonl").write_text(json.dumps({name: "0.png", "text": "x"}))
    with pytest.raises(DataError, match="cannot be a modality, since it cannot name a folder") as error:
        read_items(tmp_path / "data.jsonl")
    assert f"data.jsonl: field {name!r}" in str(error.value) and "\n" not in str(error.value)
    assert read_items(tmp_path / "data.jsonl", {"text": "text"})[0].columns == {name: "0.png"}  # metadata have no folder


@pytest.mark.parametrize("name", ["id", "split", "group"])
def test_fields_of_every_set_are_no_modalities(tmp_path, name):
    (tmp_path / "data.jsonl").write_text(json.dumps({name: "0.png", "text": "x"}))
    with pytest.raises(DataError, match=f"field '{name}' cannot be a modality, since each set has its own"):
        read_items(tmp_path / "data.jsonl", {name: "image"})
    assert list(read_items(tmp_path / "data.jsonl")[0].parts) == ["text"]  # groups may be named after a file


@pytest.mark.parametrize("field", ["id", "text", "image", "tags"])
@pytest.mark.parametrize("cell", ["a\ud800", "caf\udce9.png"])
def test_cells_that_are_not_unicode(tmp_path, field, cell):
    """Half of a surrogate pair, and a file name in Latin-1."""
    rows = [{"id": "1", "text": "x", "image": "0.png", "tags": ["y", "z"]}]
    rows.append({"id": "2", field: [cell] if field == "tags" else cell})
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    bad = next(c for c in cell if c > "\ud7ff")
    with pytest.raises(DataError, match=rf"data.jsonl: row 2, field '{field}': character \d is .*not Unicode") as error:
        read_items(tmp_path / "data.jsonl")
    assert f"is {bad!r}," in str(error.value) and str(error.value).isprintable()


def test_names_that_are_not_unicode(tmp_path):
    (tmp_path / "data.jsonl").write_text(json.dumps({"\ud800": "y", "text": "x"}))
    with pytest.raises(DataError, match=r"the name '\\ud800' of a field: character 1 is '\\ud800', which is not Unicode"):
        read_items(tmp_path / "data.jsonl")
    latin = os.fsdecode(b"caf\xe9")
    with pytest.raises(DataError, match=r"name: character 4 is '\\udce9', which is not Unicode"):
        Options(name=latin)
    with pytest.raises(DataError, match=r"the folder of the set: character \d+ is '\\udce9', which is not Unicode"):
        build(tmp_path / "data.jsonl", tmp_path / latin, Options())


def test_a_tree_of_folders_is_read_from_where_one_is(tmp_path, monkeypatch):
    """A relative path, and files that are no modalities, whose cells have no path of the machine."""
    (tmp_path / "tree" / "cat").mkdir(parents=True)
    (tmp_path / "tree" / "cat" / "0.png").write_bytes(encoded(drawing(0)))
    (tmp_path / "tree" / "cat" / "0.txt").write_text("a cat")
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "tree", (tmp_path / "tree").relative_to(tmp_path)):
        (one,) = read_items(path, {"image": "image"})
        assert one.parts["image"].read() == encoded(drawing(0)) and one.parts["image"].name == "cat/0.png"
        assert one.id == "cat/0" and one.columns == {"label": "cat", "text": "cat/0.txt"}
