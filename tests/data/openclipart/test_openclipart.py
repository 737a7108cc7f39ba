"""Openclipart is read from a package in its format: words are cleaned, groups do not leak, and the real set has its counts."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from mmjax.data.check import check_dataset
from mmjax.data.decode import DataError
from mmjax.data.openclipart.dataset import GROUPS, Drawings, Openclipart, frequent_tags, groups_of
from mmjax.data.openclipart.files import DROPPED, INSIDE, TABLE, find_drawings, unpack
from mmjax.data.openclipart.tfds import build_tfds
from mmjax.data.openclipart.words import Statements, captions, keywords, read_statements, series
from tests.data.debs import write_deb

N = 24
SVG = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<!-- Created with Inkscape --><svg xmlns="http://www.w3.org/2000/svg" width="30pt" height="20pt">
  <metadata>
    <rdf:RDF xmlns:cc="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/"
      xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
      <cc:Work rdf:about="">
        <dc:title>{title}</dc:title>
        <dc:description>{description}</dc:description>
        <dc:subject><rdf:Bag>{subjects}</rdf:Bag></dc:subject>
        <dc:publisher><cc:Agent><dc:title>Open Clip Art Library</dc:title></cc:Agent></dc:publisher>
        <dc:creator><cc:Agent><dc:title>{artist}</dc:title></cc:Agent></dc:creator>
        <cc:license rdf:resource="{licence}"/>
      </cc:Work>
    </rdf:RDF>
  </metadata>
  <rect width="{width}" height="{height}" fill="{colour}"/>
</svg>
"""
PUBLIC = "http://web.resource.org/cc/PublicDomain"


def svg(title="", description="", subjects=("",), artist="Ann", licence=PUBLIC, width=9, height=9, colour="#00f") -> bytes:
    listed = "".join(f"<rdf:li>{word}</rdf:li>" for word in subjects)
    values = {"title": title, "description": description, "artist": artist, "licence": licence, "colour": colour}
    return SVG.format(subjects=listed, width=width, height=height, **values).encode()


@pytest.fixture(scope="module")
def drawings(tmp_path_factory) -> Path:
    """A folder that unpack made from a package of N drawings, three that are left out, and a link."""
    files = {}
    for k in range(N):
        folder, tag = ("food", "fruits") if k % 2 else ("animals/birds", "bird")
        subjects = ["", "HASH(0x8a0a390)", tag, "unsorted", *(["fruit"] if k == 1 else [])]
        colour = f"#{k % 10}0{k % 7}"
        files[f"{folder}/x{k:02}"] = svg(f"thing {k}", f"A thing of {k} parts", subjects, width=2 + k, colour=colour)
    files |= {
        "food/gpl": svg("GPL thing", licence="http://creativecommons.org/licenses/GPL/2.0/"),
        "food/blank": svg("blank", width=0), "food/broken": b"<svg>",
    }  # fmt: skip
    members = {f"{INSIDE}{name}.svg": data for name, data in files.items()} | {f"{INSIDE}food/notes.txt": b"not a drawing"}
    root = tmp_path_factory.mktemp("openclipart")
    unpack(write_deb(root / "package.deb", members, {f"{INSIDE}food/link.svg": "x01.svg"}), root / "drawings")
    assert sorted(path.name for path in root.iterdir()) == ["drawings", "package.deb"]  # the temporary folder is gone
    return root / "drawings"


def ids_of(folder: Path) -> list[str]:
    return [json.loads(line)["id"] for line in (folder / TABLE).read_text().splitlines()]


@pytest.fixture
def groups(drawings, tmp_path) -> Path:
    """Drawings 0 and 1 of the table are one group."""
    digest = hashlib.sha256("\n".join(ids_of(drawings)).encode()).hexdigest()
    (tmp_path / "groups.txt").write_text(f"# {digest}\n{' '.join(map(str, [0, *range(N - 1)]))}\n")
    return tmp_path / "groups.txt"


def test_the_folder_has_every_drawing_or_a_reason(drawings):
    rows = [json.loads(line) for line in (drawings / TABLE).read_text().splitlines()]
    assert len(rows) == N and [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert json.loads((drawings / DROPPED).read_text()) == {
        "not a readable SVG": ["food/broken"],
        "licence other than public domain": ["food/gpl"],
        "cannot be drawn": ["food/blank"],
    }
    first = rows[0]
    assert (first["id"], first["folder"], first["tags"]) == ("animals/birds/x00", "animals", ["bird"])
    assert (first["text"], first["title"], first["artist"]) == ("A thing of 0 parts", "thing 0", "Ann")
    assert first["series"] == "Ann / thing / animals"  # 12 drawings with one title apart from its number
    assert rows[-1]["tags"] == ["fruit"]  # the plural of a keyword that occurs
    assert (drawings / first["image"]).read_bytes().startswith(b"\x89PNG")


def test_the_splits_do_not_leak_for_20_seeds(drawings, groups):
    for seed in range(20):
        data = Openclipart(root=drawings, groups=groups, tag_groups=2, split_seed=seed, fold=seed % 5).load()
        check_dataset(data)
        of = [set(metadata["group"].tolist()) for metadata in data.metadata.values()]
        assert sum(map(len, of)) == len(set().union(*of)) == N - 1 and sum(map(len, data.splits.values())) == N
    assert data.classes == {"folder": ("animals", "food"), "tags": ("bird", "fruit")}
    rows, metadata = data.splits["test"], data.metadata["test"]
    birds = [name.startswith("animals") for name in metadata["id"]]
    np.testing.assert_array_equal(rows.targets["tags"], [[own, not own] for own in birds])
    assert all(text.startswith("A thing of") for text in metadata["text"]) and (rows.pointer["text"] >= 0).all()
    assert data.dropped["drawings: cannot be drawn"] == 1


def test_tfds_has_the_same_drawings(drawings, groups, tmp_path):
    import tensorflow_datasets as tfds

    folder = build_tfds(tmp_path / "set", Openclipart(root=drawings, groups=groups, tag_groups=2))
    builder = tfds.builder_from_directory(folder)
    read = {row["id"].decode(): row for split in ("train", "validation", "test") for row in builder.as_data_source(split)}
    for line in (drawings / TABLE).read_text().splitlines():
        row = json.loads(line)
        own = read.pop(row["id"])
        assert own["image"] == (drawings / row["image"]).read_bytes()
        assert (own["text"].decode(), own["tags"].decode()) == (row["text"], "; ".join(row["tags"]))
    assert not read


def test_groups_must_be_those_of_the_drawings(drawings, groups, tmp_path):
    assert Drawings(drawings, 2, groups).read().cells["group"] == [0, *range(N - 1)]
    digest, numbers = groups.read_text().split("\n", 1)
    for text in (numbers, f"# {'0' * 64}\n{numbers}", f"{digest}\n0 1 2"):  # without a digest, of other drawings, too few
        (tmp_path / "other.txt").write_text(text)
        with pytest.raises(DataError, match=r"its 24 drawings are not those of other.txt, .*; delete the folder") as error:
            Drawings(drawings, 2, tmp_path / "other.txt").read()
        assert "\n" not in str(error.value)
    ids = ids_of(drawings)
    with pytest.raises(DataError, match=r"are not those of groups.txt, which has groups for 24"):
        groups_of([ids[1], ids[0], *ids[2:]], groups, drawings / TABLE)  # the same drawings in another order
    with pytest.raises(DataError, match=r"has no data.jsonl; it must be a folder that unpack has made"):
        find_drawings(tmp_path)
    with pytest.raises(DataError, match=r"Openclipart.tag_groups is 0"):
        Openclipart(tag_groups=0)


def test_words_by_hand():
    def one(title, description="", artist="Bo", subjects=()):
        return Statements(title, description, artist, "", tuple(subjects))

    many = [one(f"Part of the Flat Icons (Aug {k})", artist="Cy", subjects=["lemon_theme_icon", "Cy", "11"]) for k in range(5)]
    rest = [
        one("Clipart by Bo Li - smiley_04", "", subjects=["People", "north_america"]),
        one("frog", "A frog on a leaf", subjects=["frogs", "frog", "x" * 31]),
        one("book", "mail me at bo@example.org"),
    ]
    assert series(["icons/flat"] * 5 + ["a"] * 3, many + rest) == ["Cy / part of the flat icons / icons"] * 5 + [""] * 3
    assert captions(many + rest)[5:] == ["smiley", "A frog on a leaf", "book"]
    assert captions([one("Part of a set")] * 5 + rest)[0] == ""  # five drawings share it
    assert keywords(many + rest) == [[]] * 5 + [["north america", "people"], ["frog"], []]
    with pytest.raises(DataError, match="x: the SVG is not well-formed XML"):
        read_statements("<svg>", "x")
    assert read_statements("<svg/>", "x") == Statements("", "", "", "", ())
    assert frequent_tags([["a"], ["a", "b"], ["b"]], [0, 0, 1], 2) == [[], ["b"], ["b"]]


@pytest.mark.slow
def test_the_complete_set_has_the_counts_of_its_card():
    """Fetches and draws the package. It has 8,121 SVG files, 663 of which are links."""
    data = Openclipart().load()
    check_dataset(data)
    rows = [json.loads(line) for line in (find_drawings() / TABLE).read_text().splitlines()]
    assert len(rows) == sum(map(len, data.splits.values())) == 7330
    dropped = json.loads((find_drawings() / DROPPED).read_text())
    assert len(rows) + sum(map(len, dropped.values())) == 8121 - 663
    assert {reason: len(ids) for reason, ids in dropped.items()} == {
        "not a readable SVG": 0, "licence other than public domain": 2, "cannot be drawn": 126,
    }  # fmt: skip
    assert sum(row["title"] == "gramastar" for row in rows) == 1375  # generated stars
    of_series: dict[str, set[int]] = {}
    for row, group in zip(rows, groups_of([row["id"] for row in rows], GROUPS, find_drawings() / TABLE), strict=True):
        of_series.setdefault(row["series"] or row["id"], set()).add(group)
    assert {len(own) for own in of_series.values()} == {1}  # a series is in one group
    groups = [set(of["group"].tolist()) for of in data.metadata.values()]
    assert sum(map(len, groups)) == len(set().union(*groups))
