"""Prompts of questions about images equal those of lmms-eval for the same documents."""

import importlib.util
import itertools
import random
import types
from pathlib import Path

import pytest

from mmjax.data.formats.visual_questions import LETTERS, VisualQuestion
from mmjax.question_sets import SETS, parts_of
from tests.parity.test_answers import mmmu_utils, theirs, utils

pytestmark = pytest.mark.parity
TEXTS = ["what Brand is the NOKIA?", " Is it red?\n", "Is it a frog? Please answer yes or no.", "two\nlines", "ÉCLAIR?"]
HINTS = ["", "Look.", "a: b\nc"]
OPTIONS = [("one", "two"), ("a frog", "Two\nlines", "3"), ("yes", "no", "B.", "it's \"so\"\n")]
SHORT = {  # ours -> theirs, its settings, how its own documents differ from the published files
    "vqa_v2": ("vqav2", "_default_template_vqav2_yaml", str),
    "gqa": ("gqa", "gqa.yaml", str),
    "text_vqa": ("textvqa", "_default_template_textvqa_yaml", str),
    "doc_vqa": ("docvqa", "_default_template_docvqa_yaml", str),
    "pope": ("pope", "pope.yaml", str.strip),  # by our reader of the files
    "mme": ("mme", "mme.yaml", str.strip),
}


class AnyImage:
    """Stands for an image."""

    def convert(self, mode):
        return self


def settings(path):
    """The default prompt settings of a task."""
    import yaml

    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("!function", lambda loader, node: None)
    folder = Path(importlib.util.find_spec("lmms_eval").submodule_search_locations[0])
    return yaml.load((folder / "tasks" / path).read_text(), loader)["lmms_eval_specific_kwargs"]["default"]


@pytest.fixture(scope="module")
def processor():
    return theirs("tasks/_task_utils/vqa_eval_metric")


@pytest.mark.parametrize("name", SHORT)
def test_short_answers(name, processor):
    task, file, read = SHORT[name]
    module = utils(task, processor, datasets=types.SimpleNamespace(Dataset=None, load_dataset=None))
    write, given = getattr(module, f"{task}_doc_to_text"), settings(f"{task}/{file}")
    for text in TEXTS:
        assert SETS[name].prompt(VisualQuestion("1", (), read(text), (), "")) == write({"question": text}, given)


def test_science_qa(processor):
    write, given = utils("scienceqa", processor).sqa_doc_to_text, settings("scienceqa/scienceqa_img.yaml")
    for text, hint, options in itertools.product(TEXTS, HINTS, OPTIONS):
        question = VisualQuestion("1", (), text, (), "", options=options, hint=hint)
        assert SETS["science_qa"].prompt(question) == write({"question": text, "hint": hint, "choices": list(options)}, given)


def test_mm_bench(processor):
    evaluator = {"lmms_eval.tasks.mmbench.mmbench_evals": theirs("tasks/mmbench/mmbench_evals")}
    write = utils("mmbench", processor, "en_utils", **evaluator).mmbench_doc_to_text
    given = settings("mmbench/_default_template_mmbench_en_yaml")
    rest = dict.fromkeys(("category", "L2-category", "index", "source", "split"), "")
    for text, hint, options in itertools.product(TEXTS, HINTS, OPTIONS):
        document = {"question": text, "hint": hint or "nan"} | rest
        document |= {letter: option for letter, option in itertools.zip_longest("ABCD", options, fillvalue="nan")}
        question = VisualQuestion("1", (), text, (), "", options=options, hint=hint)
        assert SETS["mm_bench"].prompt(question) == write(document, given)


def test_mmmu(processor):
    """Its prompts, and where their images stand."""
    module, given = mmmu_utils(processor), settings("mmmu/mmmu_val.yaml")
    images, chosen, seen = [AnyImage() for _ in range(7)], random.Random(0), set()
    documents = []
    for count, options in itertools.product(range(1, 8), [*OPTIONS, ()]):
        places = [f"<image {k}>" for k in range(1, count + 1)]
        inside = chosen.randint(0, count) if options else count  # in the question; the others are options
        text = "".join(chosen.choice(["", *TEXTS]) + place for place in places[:inside]) + chosen.choice(["", *TEXTS])
        documents.append((text, (*options, *places[inside:]), images[:count]))
    for text, options, own in documents:
        document = {"question": text, "options": repr(list(options))}
        document |= {"question_type": "multiple-choice" if options else "open"}
        document |= {f"image_{k}": image for k, image in enumerate(own, 1)}
        prompt = SETS["mmmu"].prompt(VisualQuestion("1", (), text, (LETTERS[0],), "", options=options))
        module.config["metadata"]["interleaved_format"] = False  # as published
        assert prompt == module.mmmu_doc_to_text(document, given)
        (message,) = module.mmmu_doc_to_messages(document, given)
        parts = [part["url"] if part["type"] == "image" else part["text"] for part in message["content"]]
        assert parts_of(prompt, own) == parts
        seen.add(isinstance(parts[0], AnyImage))
    assert seen == {False, True}
