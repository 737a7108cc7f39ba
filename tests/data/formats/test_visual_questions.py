"""Public sets of questions about images, each in its published form."""

import base64
import io
import json

import pytest
from PIL import Image

from mmjax.data.decode import DataError
from mmjax.data.formats.visual_questions import (
    doc_vqa,
    gqa,
    mm_bench,
    mme,
    mmmu,
    pope,
    science_qa,
    text_vqa,
    vqa_v2,
)


def png(colour="red"):
    Image.new("RGB", (4, 4), colour).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def written(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(
        content
        if isinstance(content, bytes)
        else content.encode()
        if isinstance(content, str)
        else json.dumps(content).encode()
    )
    return file


def people(*answers):
    return [{"answer": answer, "answer_confidence": "yes", "answer_id": k} for k, answer in enumerate(answers, 1)]


def vqa_files(folder, **changes):
    """Two questions about one image of COCO."""
    questions = [{"image_id": 42, "question": f"What is {k}?", "question_id": 42000 + k} for k in range(2)]
    notes = [
        {
            "question_id": 42000 + k,
            "image_id": 42,
            "question_type": "what is",
            "answer_type": "number",
            "multiple_choice_answer": "2",
            "answers": people("2", "two", "2"),
        }
        for k in range(2)
    ]
    written(folder / "images/COCO_val2014_000000000042.jpg", png())
    written(folder / "questions.json", {"info": {}, "questions": questions} | changes.get("questions", {}))
    written(folder / "annotations.json", {"annotations": notes} | changes.get("annotations", {}))
    return folder / "questions.json", folder / "annotations.json", folder / "images"


def test_vqa_v2(tmp_path):
    first, second = vqa_v2(*vqa_files(tmp_path))
    assert (
        first.id == "42000" and first.text == "What is 0?" and first.answers == ("2", "two", "2") and first.category == "number"
    )
    assert first.group == second.group == "42" and first.images == (tmp_path / "images/COCO_val2014_000000000042.jpg",)


def test_gqa(tmp_path):
    entry = {
        "imageId": "n12",
        "question": "Is it red?",
        "answer": "yes",
        "fullAnswer": "Yes, it is.",
        "types": {"structural": "verify"},
    }
    written(tmp_path / "n12.jpg", png())
    (found,) = gqa(written(tmp_path / "testdev.json", {"201": entry}), tmp_path)
    assert (found.id, found.text, found.answers, found.group, found.category) == (
        "201",
        "Is it red?",
        ("yes",),
        "n12",
        "verify",
    )


def test_text_vqa(tmp_path):
    entry = {
        "question": "what is the brand?",
        "image_id": "0a1",
        "question_id": 34602,
        "answers": ["nokia"] * 9 + ["toshiba"],
        "ocr_tokens": [],
    }
    written(tmp_path / "images/0a1.jpg", png())
    (found,) = text_vqa(written(tmp_path / "val.json", {"dataset_type": "val", "data": [entry]}), tmp_path / "images")
    assert found.id == "34602" and found.answers == ("nokia",) * 9 + ("toshiba",) and found.group == "0a1"


def test_doc_vqa(tmp_path):
    entry = {
        "questionId": 49153,
        "question": "What is the total?",
        "question_types": ["table/list", "layout"],
        "docId": 14465,
        "image": "documents/pybv0228_81.png",
        "answers": ["0.28", "$0.28"],
        "data_split": "val",
    }
    written(tmp_path / "documents/pybv0228_81.png", png())
    (found,) = doc_vqa(written(tmp_path / "val.json", {"data": [entry]}), tmp_path)
    assert found.answers == ("0.28", "$0.28") and found.category == "table/list, layout"
    assert found.group == "documents/pybv0228_81.png"


def test_science_qa(tmp_path):
    problem = {
        "question": "Which is a frog?",
        "choices": ["this", "that"],
        "answer": 1,
        "hint": "Look.",
        "image": "image.png",
        "split": "test",
        "subject": "natural science",
    }
    problems = {"1": problem, "2": problem | {"image": None}, "3": problem | {"split": "train"}}
    written(tmp_path / "test/1/image.png", png())
    file = written(tmp_path / "problems.json", problems)
    (found,) = science_qa(file, tmp_path)
    assert (found.answers, found.options, found.hint, found.category) == (("B",), ("this", "that"), "Look.", "natural science")
    assert [one.id for one in science_qa(file, tmp_path, with_images=False)] == ["1", "2"]


def test_mmmu(tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow
    from pyarrow import parquet

    row = {
        "id": "validation_Art_Theory_1",
        "question": "What is <image 1>?",
        "options": "['a frog', 'it\\'s \"two\"']",
        "answer": "B",
        "question_type": "multiple-choice",
        "image_1": {"bytes": png(), "path": "1.png"},
        "image_2": None,
    }
    rows = [row, row | {"id": "validation_Art_2", "question_type": "open", "answer": "['7', 'seven']", "options": "[]"}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "art.parquet")
    found, asked = mmmu([tmp_path / "art.parquet"])
    assert found.options == ("a frog", 'it\'s "two"') and found.answers == ("B",) and found.images == (png(),)
    assert found.category == "Art_Theory" and (asked.options, asked.answers, asked.category) == ((), ("7", "seven"), "Art")
    for wrong, message in (({"options": "'abc'"}, "'options': it must be a list"), ({"answer": ""}, "not one of the 2 options"),
                           ({"question_type": "essay"}, "it is 'essay'; it must be multiple-choice or open"),
                           ({"image_1": {"bytes": None, "path": "1.png"}}, "an image is not stored in the file")):  # fmt: skip
        parquet.write_table(pyarrow.Table.from_pylist([row | wrong]), tmp_path / "wrong.parquet")
        with pytest.raises(DataError, match=f"row 1.*{message}"):
            mmmu([tmp_path / "wrong.parquet"])
    with pytest.raises(DataError, match="it is not a Parquet file"):
        mmmu([written(tmp_path / "other.parquet", "x" * 50)])


def test_mm_bench(tmp_path):
    coded = base64.b64encode(png()).decode()
    lines = [
        "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage",
        f"7\tWhich?\tnan\tone\ttwo\tthree\t\tB\tcounting\t{coded}",
        '8\t"Two\nlines"\tLook.\tyes\tno\t\t\tA\tlogic\t7',
    ]
    file = written(tmp_path / "dev.tsv", "\n".join(lines))
    found = mm_bench(file)
    assert [one.id for one in found] == ["7/0", "7/1", "7/2", "8/0", "8/1"] and {one.group for one in found} == {"7", "8"}
    assert [(one.options, one.answers) for one in found[:3]] == [
        (("one", "two", "three"), ("B",)),
        (("two", "three", "one"), ("A",)),
        (("three", "one", "two"), ("C",)),
    ]
    assert found[3].hint == "Look." and found[3].text == "Two\nlines" and found[0].hint == "" and found[4].images == (png(),)
    assert [one.id for one in mm_bench(file, circular=False)] == ["7", "8"]


def test_pope(tmp_path):
    entry = {
        "question_id": 1,
        "image": "COCO_val2014_000000310196.jpg",
        "text": "Is there a snowboard in the image?",
        "label": "yes",
    }
    written(tmp_path / entry["image"], png())
    file = written(
        tmp_path / "coco_pope_random.json",
        "\n".join([json.dumps(entry), json.dumps(entry | {"question_id": 2, "label": "no"})]),
    )
    first, second = pope(file, tmp_path)
    assert first.answers == ("yes",) and second.answers == ("no",) and first.group == second.group == entry["image"]


@pytest.mark.parametrize("apart", [False, True])
def test_mme(tmp_path, apart):
    folders = ("images/", "questions_answers_YN/") if apart else ("", "")
    written(tmp_path / f"existence/{folders[0]}0006.jpg", png())
    lines = "Is there a frog? Please answer yes or no.\tYes\nIs there a car? Please answer yes or no.\tNo\n"
    written(tmp_path / f"existence/{folders[1]}0006.txt", lines)
    first, second = mme(tmp_path)
    assert first.text == "Is there a frog? Please answer yes or no." and (first.answers, second.answers) == (("yes",), ("no",))
    assert first.category == "existence" and first.group == second.group == "existence/0006" and second.id == "existence/0006/2"


def test_mistakes_name_file_and_entry(tmp_path):
    questions, annotations, images = vqa_files(tmp_path)

    def refused(message, read, *given):
        with pytest.raises(DataError, match=message) as error:
            read(*given)
        assert "\n" not in str(error.value)

    refused("questions.json: it is not JSON", vqa_v2, written(questions, "{"), annotations, images)
    refused("the file has no field 'questions'", vqa_v2, written(questions, {"question": []}), annotations, images)
    refused(
        "'questions': it must be a list with at least one entry",
        vqa_v2,
        written(questions, {"questions": []}),
        annotations,
        images,
    )
    other = {"questions": [{"question_id": 7, "image_id": 42, "question": "?"}]}
    refused("there is no annotation of question_id 7", vqa_v2, written(questions, other), annotations, images)
    other["questions"][0] |= {"question_id": 42000, "image_id": 43}
    refused(
        "entry 1: there is no image .*COCO_val2014_000000000043.jpg", vqa_v2, written(questions, other), annotations, images
    )
    other["questions"][0] |= {"image_id": "x"}
    refused("field 'image_id': it is 'x'; it must be an integer", vqa_v2, written(questions, other), annotations, images)
    refused("there are no questions; there must be", mme, tmp_path / "nowhere")
    refused("line 1 is not JSON", pope, written(tmp_path / "p.json", "x"), tmp_path)
    refused("field 'label': it is 'maybe'", pope, written(tmp_path / "p.json", {"image": "a", "label": "maybe"}), tmp_path)
    table = "index\tquestion\tA\tB\tanswer\timage\n1\tWhat?\tx\ty\tC\tAAAA"
    refused("line 2: the answer is not one of the 2 options", mm_bench, written(tmp_path / "t.tsv", table))
    empty = table.replace("C\tAAAA", "\tAAAA")
    refused("line 2: the answer is not one of the 2 options", mm_bench, written(tmp_path / "t.tsv", empty))
    refused("column 'image': it is not base64", mm_bench, written(tmp_path / "t.tsv", table.replace("C\tAAAA", "A\t?")))
    refused("it must be an object", gqa, written(tmp_path / "g.json", []), tmp_path)
    problem = {"1": {"image": "image.png", "split": "test", "choices": ["a"], "answer": 1}}
    refused("the answer is not one of the 1 options", science_qa, written(tmp_path / "s.json", problem), tmp_path)
    refused("there are no questions of the split 'val'", science_qa, tmp_path / "s.json", tmp_path, "val")
