"""easy-VQA is read from a wheel in its format, split by image, and learnt from; the complete set has the counts of its card."""

import io
import json
import zipfile
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from mmjax.data.check import check_dataset
from mmjax.data.decode import DataError
from mmjax.data.easy_vqa.dataset import EasyVQA
from mmjax.data.easy_vqa.files import Questions
from mmjax.data.easy_vqa.tfds import build_tfds

COLOURS = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "black": (0, 0, 0)}


def png(colour: tuple[int, int, int], at: int) -> bytes:
    image = np.full((64, 64, 3), 230, np.uint8)
    image[at : at + 20, at : at + 30] = colour
    Image.fromarray(image).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def files(images: dict[str, int]) -> dict[str, bytes]:
    """The members of a wheel; two questions for each image."""
    found = {"answers.txt": "\n".join(["yes", "no", *COLOURS]).encode()}
    for split, count in images.items():
        questions = []
        for k in range(count):
            name = list(COLOURS)[k % 4]
            found[f"{split}/images/{k}.png"] = png(COLOURS[name], k + (split == "test"))
            questions += [["what color is the shape?", name, k], ["is there a red shape?", "yes" if name == "red" else "no", k]]
        found[f"{split}/questions.json"] = json.dumps(questions).encode()
    return found


def wheel(folder, **changes):
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "easy_vqa-1.0-py3-none-any.whl", "w") as opened:
        for name, data in (files({"train": 20, "test": 6}) | changes).items():
            opened.writestr(f"easy_vqa/data/{name}", data)
        opened.writestr("easy_vqa/__init__.py", "raise SystemExit('executed')")
    return folder


def test_a_row_is_a_question_and_an_image_is_in_one_split(tmp_path):
    data = EasyVQA(root=wheel(tmp_path)).load()
    check_dataset(data)
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 36, "validation": 4, "test": 12}
    groups = [set(data.metadata[split]["group"].tolist()) for split in data.splits]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 26
    test, classes = data.metadata["test"], data.classes["answer"]
    assert classes == ("black", "blue", "green", "no", "red", "yes")
    assert test["question"][:2].tolist() == ["what color is the shape?", "is there a red shape?"]
    answers = [classes[k] for k in data.splits["test"].targets["answer"][:4]]
    assert answers == ["red", "yes", "green", "no"]
    first = data.columns["image"].read(int(data.splits["test"].pointer["image"][0]))  # image 0 of the test split, placed at 1
    assert first.shape == (64, 64, 4) and first[5, 5].tolist() == [255, 0, 0, 255] and first[40, 40, 0] == 230
    words = data.columns["question"].read(int(data.splits["test"].pointer["question"][0]))
    assert words.length == 6  # what color is the shape ?


def test_some_of_the_images_with_all_of_their_questions(tmp_path):
    data = EasyVQA(root=wheel(tmp_path), images=(10, 3)).load()
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 18, "validation": 2, "test": 6}
    assert data.columns["image"].count == 13 and len(set(data.metadata["test"]["group"].tolist())) == 3
    with pytest.raises(DataError, match=r"test/questions.json: EasyVQA.images asks for 7 images; it must be from 1 to 6"):
        EasyVQA(root=tmp_path, images=(10, 7)).load()


def test_tfds_has_the_same_rows(tmp_path):
    import tensorflow_datasets as tfds

    folder = build_tfds(tmp_path / "set", wheel(tmp_path))
    rows = list(tfds.builder_from_directory(folder).as_data_source("test"))
    cells = Questions(tmp_path).read().cells
    assert [row["question"].decode() for row in rows] == cells["question"][40:]
    assert [row["image"] for row in rows] == cells["image"][40:]
    assert [row["group"] for row in rows] == [20 + k // 2 for k in range(12)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train/questions.json", b"[[", "train/questions.json is not JSON"),
        ("train/questions.json", b'[["what?", "yes"]]', "question 1: it must be .question, answer, number of the image."),
        ("test/questions.json", b'[["what?", "pink", 0]]', "question 1: the answer 'pink' is not in answers.txt"),
        ("test/questions.json", b'[["what?", "yes", 99]]', "there is no easy_vqa/data/test/images/99.png"),
        ("test/images/3.png", b"\x89PNG\r\n\x1a\n", "the image is truncated or damaged"),
    ],
)
def test_wrong_files_give_one_line(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message) as caught:
        EasyVQA(root=wheel(tmp_path, **{name: content})).load()
    assert "\n" not in str(caught.value)


def test_a_folder_without_the_wheel(tmp_path):
    with pytest.raises(DataError, match=r"has 0 files easy_vqa-\*.whl; it must have one"):
        EasyVQA(root=tmp_path).load()


@pytest.mark.slow
def test_the_complete_set_has_the_counts_and_baselines_of_its_card():
    """Fetches the package. The counts are those of the README in the wheel."""
    data = EasyVQA(image_size=16).load()
    check_dataset(data)
    rows = {name: len(of) for name, of in data.splits.items()}
    assert rows["train"] + rows["validation"] == 38575 and rows["test"] == 9673
    images = {name: len(set(of["group"].tolist())) for name, of in data.metadata.items()}
    assert images["train"] + images["validation"] == 4000 and images["test"] == 1000
    assert sum(images.values()) == len(set().union(*(of["group"].tolist() for of in data.metadata.values())))
    pairs = {name: list(zip(of["question"].tolist(), of["answer"].tolist())) for name, of in data.metadata.items()}
    train, test = pairs["train"] + pairs["validation"], pairs["test"]
    assert len(data.classes["answer"]) == 13 and len({question for question, _ in train + test}) == 107
    assert [sum(answer in ("yes", "no") for _, answer in own) for own in (train, test)] == [28407, 7136]
    majority = Counter(answer for _, answer in train).most_common(1)[0][0]
    assert np.mean([answer == majority for _, answer in test]) == pytest.approx(0.373, abs=5e-4)
    assert question_alone(train, test) == pytest.approx(0.670, abs=5e-4)
    assert question_alone(test, test) == pytest.approx(0.678, abs=5e-4)  # no model of the question alone can reach more


def question_alone(train: list[tuple[str, str]], test: list[tuple[str, str]]) -> float:
    """The accuracy of the most frequent training answer to each question."""
    answers = defaultdict(Counter)
    for question, answer in train:
        answers[question][answer] += 1
    return float(np.mean([answers[question].most_common(1)[0][0] == answer for question, answer in test]))
