"""Public questions about images: prompts, images that are shown, resumed answers, scores with intervals, and mistakes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmjax import questions
from mmjax.data.decode import DataError
from mmjax.data.formats.visual_questions import VisualQuestion
from mmjax.pretrained import load
from mmjax.pretrained.answering import answerer
from mmjax.question_scores import ALL, _of_groups, majority, scored
from mmjax.question_sets import COMPARED_WITH, MME, SETS, SHORT, parts_of
from mmjax.questions import answered, circular, first_groups, main, shown_images
from tests.data.formats.test_visual_questions import png, written
from tests.pretrained.tiny import vision_language_folder

POPE = [
    VisualQuestion(f"{image}/{k}", (png(),) * (image + 1), f"Is there a {name}?", (("yes", "no")[k],), str(image))
    for image in range(3)
    for k, name in enumerate(("frog", "car"))
]


def test_prompts():
    """Those of lmms-eval; tests/parity/test_questions.py compares its functions."""
    prompt = lambda name, *given, **more: SETS[name].prompt(VisualQuestion("1", (), *given, ("B",), "1", **more))
    letter = "\nAnswer with the option's letter from the given choices directly."
    lettered, choice = "A. one\nB. two", {"options": ("one", "two"), "hint": "Look."}
    assert SHORT == "\nAnswer the question using a single word or phrase."
    assert prompt("gqa", "Is it Red? Please answer yes or no.") == "Is it Red? Please answer yes or no." + SHORT
    assert prompt("mme", "Is it red? Please answer yes or no.") == "Is it red?" + SHORT
    assert prompt("text_vqa", "what does Nokia say?") == "What does nokia say?" + SHORT
    assert prompt("science_qa", "Which?", **choice) == f"Context: Look.\nWhich?\n{lettered}{letter}"
    assert prompt("mm_bench", "Which?", **choice) == f"Look. Which? There are several options:\n{lettered}\n{letter}"
    assert prompt("mmmu", "Which? <image 1>", options=("one", "two")) == f"Which? <image 1>\n{lettered}\n{letter}"


def test_images_stand_where_the_prompt_has_their_numbers():
    assert parts_of("What is it?", [1, 2]) == [1, 2, "What is it?"]
    assert parts_of("What is it?", []) == ["What is it?"]
    assert parts_of("<image 2> A. <image 1>\nWhat?", [1, 2, 3]) == [2, "A.", 1, "What?"]
    assert parts_of("Is <image 1> as <image 1>?", [1]) == ["Is", 1, "as", 1, "?"]
    assert parts_of("Is <image 1> as <image 2>?", [1]) == ["Is", 1, "as <image 2>?"]  # of another question
    assert parts_of("Is <image 1>?", []) == ["Is <image 1>?"]


def test_images_of_other_questions_are_never_their_own():
    assert [len(images) for images in shown_images(POPE, "right")] == [1, 1, 2, 2, 3, 3]
    assert [len(images) for images in shown_images(POPE, "none")] == [0] * 6
    assert [len(images) for images in shown_images(POPE, "wrong")] == [2, 2, 3, 3, 1, 1]
    with pytest.raises(DataError, match="all questions are about the same image"):
        shown_images(POPE[:2], "wrong")


def test_a_limit_keeps_whole_groups():
    assert [question.id for question in first_groups(POPE, 3)] == ["0/0", "0/1", "1/0", "1/1"]
    assert first_groups(POPE, None) == POPE


def test_answers_continue_where_they_stopped(tmp_path):
    asked, file = [], tmp_path / "right.jsonl"

    def answer(rows, fail_at=None):
        if len(asked) == fail_at:
            raise KeyboardInterrupt
        asked.append([(row["text"], len(row["images"]), row["images"][0].size) for row in rows])
        return ["Yes."] * len(rows)

    with pytest.raises(KeyboardInterrupt):
        answered(POPE, SETS["pope"], "right", lambda rows: answer(rows, 2), file, 2, {"weights": "a"})
    with file.open("a") as lines:
        lines.write('{"id": "2/0", "pro')  # the machine stopped here
    done = []
    found = answered(POPE, SETS["pope"], "right", answer, file, 2, {"weights": "a"}, done.append)
    assert found == ["Yes."] * 6 and [len(rows) for rows in asked] == [2, 2, 2] and done == [6]
    assert asked[2][0][1:] == (3, (4, 4))
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == [question.id for question in POPE]
    assert answered(POPE, SETS["pope"], "right", answer, file, 2, {"weights": "a"}) == found and len(asked) == 3
    assert answered(POPE[:4], SETS["pope"], "right", answer, file, 2, {"weights": "a"}) == found[:4]
    with pytest.raises(DataError, match="line 1 does not answer the question in this place"):  # of other images
        answered(POPE, SETS["pope"], "wrong", answer, file, 2, {"weights": "a"})
    with pytest.raises(DataError, match="line 1 does not answer the question in this place; choose another --out"):
        answered(POPE, SETS["pope"], "right", answer, file, 2, {"weights": "b"})


def test_scores_of_yes_and_no():
    found = scored(POPE, SETS["pope"], ["yes", "no", "yes", "yes", "no", "no"])[ALL]
    assert found["pope"].mean == pytest.approx(4 / 6) and found["pope"].low < 4 / 6 < found["pope"].high
    assert found["pope_precision"].mean == pytest.approx(2 / 3) and found["pope_yes_rate"].mean == 0.5
    together = scored(POPE, SETS["mme"], ["yes", "no", "yes", "yes", "no", "no"])[ALL]
    assert together["all_right"].mean == pytest.approx(1 / 3)
    assert majority(POPE[:3]) == ["yes"] * 3


def test_a_choice_counts_if_it_is_right_in_all_rotations():
    asked = [
        VisualQuestion(f"{k}/{turn}", (), "?", ("AB"[turn],), str(k), options=("one", "two")[:: 1 - 2 * turn])
        for k in range(2)
        for turn in range(2)
    ]
    found = scored(asked, SETS["mm_bench"], ["A", "(B)", "A. one", "one of these, I think, is right: A"])[ALL]
    assert found["first_letter"].mean == 0.75 and found["all_right"].mean == 0.5
    # ScienceQA takes the letter alone.
    assert scored(asked, SETS["science_qa"], ["A", "(B)", "A. one", "I think: A"])[ALL]["first_letter"].mean == 0.5


def test_a_model_answers(tmp_path, capsys):
    """A tiny LLaVA from a folder: the answers of a batch, which is filled and padded, are those of each question alone."""
    images = [written(tmp_path / f"{k}.png", png(colour)) for k, colour in enumerate(("red", "blue", "green"))]
    asked = {"Is it ?": "<image>Is it ?", "Is it so ?": "<image>Is it so ?", "Is <image 1> so?": "Is<image>so?"}
    lines = [
        {"question_id": k, "image": file.name, "text": text, "label": "yes"}
        for k, (file, text) in enumerate(zip(images, asked))
    ]
    file = written(tmp_path / "pope.json", "\n".join(map(json.dumps, lines)))
    weights = vision_language_folder(tmp_path / "llava")
    main(
        [
            str(weights),
            "pope",
            str(file),
            "--batch",
            "2",
            "--max-tokens",
            "3",
            "--out",
            str(tmp_path / "out"),
            "--shown",
            "right",
            "none",
        ]
    )
    assert "pope: 3 questions about 3 images" in capsys.readouterr().out
    found = [json.loads(line)["answer"] for line in (tmp_path / "out/right.jsonl").read_text().splitlines()]
    answer = answerer(load(weights), 3)
    prompts = [text + SHORT for text in asked.values()]
    alone = [answer([{"text": text, "images": [Image.open(image)]}])[0] for text, image in zip(prompts, images)]
    assert found == [text.strip() for text in alone] and len(set(found)) > 1
    (weights / "tokenizer.json").unlink()
    with pytest.raises(SystemExit, match=r"error: the weights came without tokenizer.json"):
        main([str(weights), "pope", str(file), "--out", str(tmp_path / "other")])


def test_the_command_from_files_to_a_table(tmp_path, monkeypatch, capsys):
    for image in range(3):
        written(tmp_path / f"{image}.png", png())
    lines = [
        {"question_id": k, "image": f"{k // 2}.png", "text": f"Is there a frog, {k}?", "label": ("yes", "no")[k % 2]}
        for k in range(6)
    ]
    file = written(tmp_path / "pope.json", "\n".join(map(json.dumps, lines)))

    class Weights:
        preprocessing, module = object(), object()

    monkeypatch.setattr("mmjax.pretrained.load", lambda source: Weights())
    with pytest.raises(SystemExit, match="error: tiny is no vision-language model, but a object"):
        main(["tiny", "pope", str(file)])
    monkeypatch.setattr("mmjax.pretrained.image_prompts.ImagePrompts", object)
    answer = lambda rows: ["yes" if row["images"] else "no" for row in rows]
    monkeypatch.setattr(questions, "_answerer", lambda weights, max_tokens, batch: answer)
    main(["tiny", "pope", str(file), "--out", str(tmp_path / "out")])  # with all baselines
    printed = capsys.readouterr().out
    assert "pope: 6 questions about 3 images" in printed and "majority" in printed
    first = [line.split("│")[1].strip() for line in printed.splitlines() if line.count("│") > 2]
    assert [name for name in first if name] == ["right", "none", "wrong", "majority"]  # a row may have several lines
    summary = json.loads((tmp_path / "out/scores.json").read_text())
    versions = {name: summary[name] for name in ("prompts as in", "scorer as in", "scorer", "prompt")}
    assert versions == {
        "prompts as in": "lmms_eval 0.7.3", "scorer as in": "lmms_eval 0.7.3", "scorer": list(SETS["pope"].scores),
        "prompt": f"Is there a frog, 0?{SHORT}",
    }  # fmt: skip
    assert summary["scores"]["right"]["pope_yes_rate"][0] == 1 and summary["scores"]["none"]["pope_yes_rate"][0] == 0
    same = {shown: summary["scores"][shown]["same"][0] for shown in ("right", "none", "wrong")}
    assert same == {"right": 1, "none": 0, "wrong": 1}
    assert len((tmp_path / "out/none.jsonl").read_text().splitlines()) == 6
    for arguments, message in (
        (["vqa_v2", str(file)], "vqa_v2 takes 2 files: QUESTIONS ANNOTATIONS"),
        (["pope", str(file), "--limit", "0"], "must be at least 1"),
        (["pope", str(file), "--circular"], "--circular is for questions with options, and pope has none"),
        (["pope", str(file), "--limit", "1"], "all questions are about the same image: raise --limit, or leave out wrong"),
        (["pope", str(tmp_path / "nothing.json")], "nothing.json: No such file"),
    ):
        with pytest.raises(SystemExit, match=f"error: .*{message}"):
            main(["tiny", *arguments])


def test_versions_are_those_that_the_tests_compare_with():
    """That of lmms-eval is installed for the parity tests; VLMEvalKit's numbers in a test are of the commit."""
    root = Path(__file__).parents[1]
    assert f"lmms_eval=={COMPARED_WITH['lmms_eval']} " in (root / "scripts/environment").read_text()
    assert f"commit\n{COMPARED_WITH['VLMEvalKit']}." in (root / "tests/metrics/test_answers_vlmevalkit.py").read_text()
    assert SETS["mm_bench"].rules == "VLMEvalKit"


def test_the_score_of_mme():
    """Per category 100 (accuracy + share of images with both answers right), by hand; totals need all their categories."""
    said = {"existence": ["yes", "no", "yes", "yes"], "count": ["no", "no", "no", "yes"]}  # right: 1 1, 1 0; 0 1, 0 0
    kinds = [kind for total in MME.values() for kind in total]
    asked = [
        VisualQuestion(f"{kind}/{image}/{k}", (), "?", (("yes", "no")[k],), f"{kind}/{image}", kind)
        for kind in kinds
        for image in range(2)
        for k in range(2)
    ]
    answers = [text for kind in kinds for text in said.get(kind, ["maybe"] * 4)]
    found = scored(asked, SETS["mme"], answers)
    assert list(found) == [ALL, *kinds]
    of = lambda kind: [found[kind][name].mean for name in ("mme", "all_right", "score")]
    values = {kind: of(kind) for kind in ("existence", "count", "OCR")}
    assert values == {"existence": [0.75, 0.5, 125], "count": [0.25, 0, 25], "OCR": [0, 0, 0]}
    assert found[ALL]["perception"].mean == 150 and found[ALL]["cognition"].mean == 0
    assert 0 < found[ALL]["perception"].low < 150 < found[ALL]["perception"].high < 2000
    assert found[ALL]["perception"].metric.bounds == (0, 2000) and "score" not in found[ALL]
    images = np.arange(2).repeat(2)
    assert list(_of_groups(SETS["mme"], np.ones(4), images, np.array(["count"] * 4)).metrics) == ["all_right"]  # no totals


def test_subjects_of_mmmu_and_its_open_questions():
    asked = [
        VisualQuestion("1", (), "?", ("B",), "1", "Art", ("one", "two")),
        VisualQuestion("2", (), "?", ("12.5",), "2", "Math"),
        VisualQuestion("3", (), "?", ("a frog", "frogs"), "3", "Math"),
    ]
    assert SETS["mmmu"].prompt(asked[1]) == f"?\n{SHORT}"
    found = scored(asked, SETS["mmmu"], ["It is (B)", "x = 2 * 6.25 = 12.50", "Toads"])
    assert {kind: scores["first_letter"].mean for kind, scores in found.items()} == {
        ALL: pytest.approx(2 / 3), "Art": 1, "Math": 0.5
    }  # fmt: skip
    assert len(scored(asked[1:], SETS["mmmu"], ["12.5", "frogs"])) == 1  # one subject: no further rows


def test_choices_of_any_set_are_asked_in_all_rotations():
    asked = [
        VisualQuestion("1", (b"a", b"b"), "Which?", ("A",), "1", "Art", ("<image 1>", "<image 2>", "none")),
        VisualQuestion("2", (b"c",), "How many?", ("7",), "2", "Art"),
    ]
    turned, set_ = circular("mmmu", asked)
    assert [question.id for question in turned] == ["1/0", "1/1", "1/2", "2"]
    assert [question.answers for question in turned] == [("A",), ("C",), ("B",), ("7",)]
    assert parts_of(set_.prompt(turned[1]), turned[1].images)[:3] == ["Which?\nA.", b"b", "B. none\nC."]
    found = scored(turned, set_, ["A", "C", "C", "7"])[ALL]
    assert found["first_letter"].mean == 0.75 and found["all_right"].mean == 0.5
    assert scored(turned, set_, ["A", "C", "B", "7"])[ALL]["all_right"].mean == 1
    assert "all_right" not in scored(asked, SETS["mmmu"], ["A", "7"])[ALL]
    assert circular("mm_bench", turned) == (turned, SETS["mm_bench"])  # its reader has rotated them


def test_rotations_and_subjects_in_the_command(tmp_path, monkeypatch, capsys):
    """Two questions of ScienceQA with three options; a model that always answers A is right once in three and never in all."""
    problem = {"question": "Which?", "choices": ["one", "two", "three"], "image": "image.png", "split": "test", "hint": ""}
    problems = {k: problem | {"answer": int(k), "subject": name} for k, name in (("1", "art"), ("2", "science"))}
    for k in problems:
        written(tmp_path / f"images/test/{k}/image.png", png())
    monkeypatch.setattr("mmjax.pretrained.load", lambda source: type("Weights", (), {"preprocessing": 1}))
    monkeypatch.setattr("mmjax.pretrained.image_prompts.ImagePrompts", object)
    monkeypatch.setattr(questions, "_answerer", lambda weights, max_tokens, batch: lambda rows: ["A"] * len(rows))
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path / "problems.json", problems)
    main(["tiny", "science_qa", str(file), "--images", str(tmp_path / "images"), "--circular"])
    assert "images: right" in (printed := capsys.readouterr().out) and "science" in printed
    lines = (tmp_path / "runs/science_qa_circular/wrong.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"{k}/{turn}" for k in problems for turn in range(3)]
    summary = json.loads((tmp_path / "runs/science_qa_circular/scores.json").read_text())
    assert summary["scores"]["right"]["first_letter"][0] == pytest.approx(1 / 3) and summary["circular"]
    assert summary["scores"]["right"]["all_right"][0] == 0
    assert {name: of["first_letter"] for name, of in summary["categories"]["none"].items()} == {
        name: [pytest.approx(1 / 3), None, None] for name in ("art", "science")  # one question, so no interval
    }
