"""The command on a small hostile set: everything is reported, nothing leaks, and two processes write the same bytes."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmjax.data.build.__main__ import main
from mmjax.data.build.build import build
from mmjax.data.build.croissant import read_croissant, write_croissant
from mmjax.data.build.items import sha256
from mmjax.data.build.options import Options
from mmjax.data.build.read import read_items
from mmjax.data.build.write import rows_of
from mmjax.data.decode import DataError
from tests.data.build.files import drawing, encoded, item, melody, sound

CHECKOUT = Path(__file__).resolve().parents[3]
N = 30
THINGS = "lamp fork tree boat drum kite bell rope coin shoe leaf star ring nest gate pipe vase lock fish harp".split()
ARGUMENTS = ["--label", "label", "--together", "speaker", "--raters", "r1,r2", "--copies", "5", "--licence", "CC0-1.0"]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    rows = []
    for k in range(N):
        (folder / f"{k}.png").write_bytes(encoded(drawing(k)))
        (folder / f"{k}.wav").write_bytes(sound(melody(k, 0.6)))
        rows.append({
            "id": f"i{k:02}", "image": f"{k}.png", "audio": f"{k}.wav", "label": "xyz"[k % 3], "speaker": f"s{k // 2}",
            "text": f"a {THINGS[k % 20]} beside {k + 2} {THINGS[(7 * k + 3) % 20]}s", "r1": "xyz"[k % 3], "r2": "xyz"[k % 3],
        })  # fmt: skip
    (folder / "4.png").write_bytes(encoded(drawing(4))[:-50])
    (folder / "9.png").write_bytes(encoded(drawing(20)[:, ::-1], "JPEG", quality=60))  # and the extension is wrong
    rows[5]["text"] = "Write to ann@example.org or +33 1 42 68 53 00"
    rows[4]["image"] = "lee@example.org.png"
    (folder / "4.png").rename(folder / "lee@example.org.png")
    rows[11]["text"] = f"The café of jo@example.org: {rows[11]['text']}".encode().decode("cp1252")
    rows[6] |= {"image": "", "audio": "", "text": " "}
    rows[7]["r2"] = "y" if rows[7]["r2"] == "x" else "x"
    with open(folder / "data.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "data.csv"


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    """(the folder of the set, its report)."""
    out = tmp_path_factory.mktemp("out") / "set"
    main([str(source), "--out", str(out), *ARGUMENTS])
    return out, json.loads((out / "report.json").read_text())


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]


def test_two_processes_write_the_same_bytes(source, built, tmp_path):
    command = [sys.executable, "-m", "mmjax.data.build", str(source), "--out", str(tmp_path / "set"), *ARGUMENTS]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "29 of 30 items kept" in done.stdout and "no group is in two splits" in done.stdout
    first, second = ({file.relative_to(f).as_posix(): file.read_bytes() for file in f.rglob("*") if file.is_file()}
                     for f in (built[0], tmp_path / "set"))  # fmt: skip
    assert first.keys() == second.keys() and [name for name in first if first[name] != second[name]] == []
    assert [path.name for path in tmp_path.iterdir()] == ["set"]  # the temporary folder is gone


def test_the_report_lists_every_change(built):
    findings = {(own["item"], own["modality"], own["action"], own["reason"]) for own in built[1]["findings"]}
    assert findings == {
        ("i04", "image", "dropped", "truncated image"),
        ("i06", "", "dropped", "no usable modality"),
        ("i09", "image", "repaired", "wrong extension"),
        ("i05", "text", "repaired", "personal data"),
        ("i11", "text", "repaired", "text encoded twice"),
        ("i11", "text", "repaired", "personal data"),
    }
    assert built[1]["personal data"]["removed"] == {"e-mail address": 2, "phone number": 1}
    assert next(row for row in rows(built[0]) if row["id"] == "i05")["text"] == "Write to [EMAIL] or [PHONE]"


def test_nothing_published_has_an_address(built):
    """Neither those of texts, one of which was repaired before it was searched, nor that of a file name."""
    assert all(b"@example.org" not in file.read_bytes() for file in built[0].rglob("*") if file.is_file())
    assert next(row for row in rows(built[0]) if row["id"] == "i11")["text"].startswith("The café of [EMAIL]: a ")


def test_groups_and_splits(built):
    items = {row["id"]: row for row in rows(built[0])}
    # the mirrored copy and its original, each with the other item of the speaker
    assert len({items[name]["group"] for name in ("i08", "i09", "i20", "i21")}) == 1
    assert len({row["group"] for row in items.values()}) == 14
    assert len({(row["group"], row["split"]) for row in items.values()}) == 14
    assert {row["split"] for row in items.values()} == {"train", "validation", "test"}
    assert built[1]["duplicates"]["image"]["ids"] == [["i09", "i20"]]
    assert built[1]["duplicates"]["image"]["pairs"] == 1 and built[1]["duplicates"]["image"]["pairs across splits"] == 0


def test_raters(built):
    # 30 - 1 items, 1 disagreement, the rating of i07 (y) is x. Values: 10 x, 10 + 10 - 2 (i06 is dropped) ... by scikit-learn's
    # kappa: observed 28/29; expected (9 * 10 + 10 * 9 + 10 * 10) / 29^2
    kappa = 1 - (1 / 29) / (1 - (9 * 10 + 10 * 9 + 10 * 10) / 29**2)
    assert built[1]["agreement"]["cohen_kappa"] == {"r1, r2": pytest.approx(kappa, abs=1e-4)}
    assert built[1]["agreement"]["krippendorff_alpha"] == pytest.approx(0.949, abs=2e-3)


def test_croissant_reads_back_row_by_row(built):
    assert read_croissant(built[0]) == rows(built[0])
    described = json.loads((built[0] / "croissant.json").read_text())
    assert described["license"] == "CC0-1.0"
    assert described["distribution"][0]["sha256"] == sha256((built[0] / "items.parquet").read_bytes())


def test_a_changed_table_is_refused_by_its_croissant_file(built, tmp_path):
    (tmp_path / "croissant.json").write_bytes((built[0] / "croissant.json").read_bytes())
    (tmp_path / "items.parquet").write_bytes((built[0] / "items.parquet").read_bytes() + b"PAR1")
    with pytest.raises(Exception, match=r"Download\(items.parquet\)") as error:
        read_croissant(tmp_path)
    assert "Hash of downloaded file" in str(error.value.__cause__)


def test_croissant_keeps_texts_of_digits(tmp_path):
    """mlcroissant reads JSON Lines through pandas, which would make 7 of "007"."""
    table = [{"id": "007", "group": 0, "label": "1.50"}, {"id": "1e3", "group": 1, "label": None}]
    statements = dict.fromkeys(("description", "license", "url", "biases", "personal"), "https://example.org")
    write_croissant(tmp_path, "digits", table, statements)
    assert read_croissant(tmp_path) == table


def test_array_record_has_the_same_items(built):
    tfds = pytest.importorskip("tensorflow_datasets")
    builder = tfds.builder_from_directory(built[0] / "tfds" / "data" / "1.0.0")
    for split in ("train", "validation", "test"):
        expected = [row for row in rows(built[0]) if row["split"] == split]
        read = list(builder.as_data_source(split))
        assert [row["id"].decode() for row in read] == [row["id"] for row in expected]
        for one, other in zip(read, expected):
            assert one["text"].decode() == other["text"] and one["group"] == other["group"]
            assert one["image"] == ((built[0] / other["image"]).read_bytes() if other["image"] else b"")
            assert one["audio"] == (built[0] / other["audio"]).read_bytes()
    assert "tensorflow" not in sys.modules


def test_checksums_are_those_of_the_files(built):
    lines = dict(reversed(line.split("  ")) for line in (built[0] / "sha256sums.txt").read_text().splitlines())
    files = {file.relative_to(built[0]).as_posix() for file in built[0].rglob("*") if file.is_file()}
    assert set(lines) == files - {"sha256sums.txt"}
    assert all(sha256((built[0] / name).read_bytes()) == digest for name, digest in lines.items())


def test_the_card_states_what_was_measured(built, source):
    text = (built[0] / "README.md").read_text()
    for part in ("CC0-1.0", "truncated image", "Krippendorff's alpha (nominal) is 0.9", "Voices identify", "mirrored 1.000"):
        assert part in text
    assert str(source.parent).encode() not in b"".join(file.read_bytes() for file in built[0].glob("*.*"))  # no paths


def test_the_set_loads_for_training(built):
    from mmjax.data.custom.manifest import from_manifest

    data = from_manifest(built[0] / "items.jsonl", inputs=("image", "text"), targets=("label",)).load()
    assert {split: len(own) for split, own in data.splits.items()} == built[1]["splits"]


def test_held_out_speakers(source, tmp_path):
    report = build(source, tmp_path / "set", Options(hold_out=("speaker", ("s4", "s0")), copies=3, kinds={"image": "image"}))
    items = rows(tmp_path / "set")
    assert {row["speaker"] for row in items if row["split"] == "test"} == {"s4", "s0"}
    # i20 is the original of the held-out mirrored i09
    assert report["items"]["left out"] == 1 and "i20" not in {row["id"] for row in items}


def test_labels_that_are_numbers_and_a_column_of_groups(tmp_path):
    """Numbers are divided by quintile and have no shortcuts; equal values of the column "group" share a split by default."""
    lines = [f"{THINGS[k % 20]} and {THINGS[(3 * k + k // 20) % 20]} of {k},{k / 7:.2f},g{k // 2}" for k in range(40)]
    (tmp_path / "data.csv").write_text("\n".join(["text,label,group", *lines]))
    report = build(tmp_path / "data.csv", tmp_path / "set", Options(label="label", copies=3))
    assert report["shortcuts"] == report["labels"] == {} and report["label errors"] == []
    items = rows(tmp_path / "set")
    assert len({row["source_group"] for row in items}) == 20 and {type(row["group"]) for row in items} == {int}
    assert len({(row["source_group"], row["split"]) for row in items}) == 20
    assert "Not measured: there is no label, or its values are numbers." in (tmp_path / "set" / "README.md").read_text()


def test_a_column_never_replaces_another():
    """As of a set that was built from a table with the column "group", whose items.jsonl is built again."""
    items = [item("a", {"group": "3", "source_group": "speaker", "split": "test", "text": "x"}, text="words")]
    assert rows_of(items, ["train"], np.arange(1)) == [{
        "id": "a", "split": "train", "group": 0, "text": "words", "source_source_group": "3", "source_group": "speaker",
        "source_split": "test", "source_text": "x",
    }]  # fmt: skip


def test_features_are_a_second_search(tmp_path, capsys):
    """The encoder of the command counts things; other words for them are found by it alone."""
    words = [f"{thing} {k}" for k, thing in enumerate(THINGS)]
    (tmp_path / "data.csv").write_text("\n".join(["text", *words, "the lamps of number 0"]))
    things = lambda name: lambda text: np.array([float(thing in text) for thing in THINGS])
    arguments = [str(tmp_path / "data.csv"), "--out", str(tmp_path / "set"), "--copies", "9", "--keep-personal"]
    main([*arguments, "--features", "text=things"], encoder=things)
    report = json.loads((tmp_path / "set" / "report.json").read_text())
    assert {name: own["ids"] for name, own in report["duplicates"].items()} == {"text": [], "text, things": [["1", "21"]]}
    assert report["warnings"] == [] and report["groups"]["groups"] == 20
    assert "near-duplicates, text, things: 1 pairs; planted copies: precision " in capsys.readouterr().out
    assert "| text, things | 0 | 1 |" in (tmp_path / "set" / "README.md").read_text()
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--features", "audio=things"], encoder=things)
    assert "is not an empty folder" in str(exit_.value)


@pytest.mark.parametrize(("arguments", "message"), [
    (["nothing.csv"], "nothing.csv: No such file or directory"),
    (["data.csv", "--label", "colour"], "there is no column 'colour'; the columns are label, r1, r2, speaker"),
    (["data.csv", "--kinds", "photo=image"], "there is no field 'photo' for the modality of kind 'image'"),
    (["data.csv", "--kinds", "image=video"], "field 'image' has the kind 'video'; it must be one of image, audio, text"),
    (["data.csv", "--folds", "2"], "fold is 0 of 2; folds must be at least 3"),
    (["data.csv", "--raters", "r1"], "agreement needs the columns of at least two raters"),
    (["data.csv", "--raters", "r1,r2", "--scale", "ratio"], "scale is 'ratio'; it must be one of nominal, ordinal, interval"),
    (["data.csv", "--out", "."], "exists and is not an empty folder"),
])  # fmt: skip
def test_errors_are_one_line_and_leave_nothing(source, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(source.parent)
    before = sorted(source.parent.iterdir())
    with pytest.raises(SystemExit) as exit_:
        main([arguments[0], "--out", str(tmp_path / "set"), *arguments[1:]])
    assert message in str(exit_.value) and "\n" not in str(exit_.value) and str(exit_.value).startswith("error: ")
    assert list(tmp_path.iterdir()) == [] and sorted(source.parent.iterdir()) == before


def test_a_failure_while_writing_leaves_nothing(source, tmp_path, monkeypatch):
    def fail(*_) -> None:
        raise DataError("the disk is full")

    monkeypatch.setattr("mmjax.data.build.build.write_croissant", fail)
    with pytest.raises(DataError, match="the disk is full"):
        build(source, tmp_path / "set", Options(copies=2, kinds={"text": "text"}))
    assert list(tmp_path.iterdir()) == []


def test_a_tree_of_folders(tmp_path):
    for k in range(6):
        for name, data in ((f"{k}.png", encoded(drawing(k))), (f"{k}.txt", f"thing {k}".encode())):
            file = tmp_path / ("cat", "dog")[k % 2] / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(data)
    items = read_items(tmp_path)
    assert [(item.id, item.columns, sorted(item.parts)) for item in items[:2]] == [
        ("cat/0", {"label": "cat"}, ["image", "text"]), ("cat/2", {"label": "cat"}, ["image", "text"])
    ]  # fmt: skip
    assert items[0].parts["image"].name == "cat/0.png" and items[0].parts["text"].text() == "thing 0"
