"""Scores of short answers equal the functions of lmms-eval on the same 500 predictions each."""

import importlib.metadata
import importlib.util
import itertools
import random
import re
import string
import sys
import types
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data.formats.visual_questions import VisualQuestion
from mmjax.metrics.answers import (
    ANSWER_METRICS,
    anls,
    chosen_letter,
    first_letter,
    gqa_match,
    relaxed_match,
    textvqa_accuracy,
    vqa_accuracy,
    yes_no,
)
from mmjax.metrics.answers_mmmu import named_reference
from mmjax.metrics.text import text_outcomes
from mmjax.question_scores import ALL, scored
from mmjax.question_sets import COMPARED_WITH, MME, SETS

pytestmark = pytest.mark.parity
WORDS = "a an the red Red, frog don't dont wouldnt've it's its 1,000 1000 10.5 2 two none / and/or left-hand \n (yes) no. ?"
WORDS = WORDS.split(" ")
CASES = 500


def theirs(path, **modules):
    """A module of lmms-eval from its file; the package itself needs much more. modules: stand-ins for what it imports."""
    folder = Path(importlib.util.find_spec("lmms_eval").submodule_search_locations[0])
    stubs = {"loguru": types.SimpleNamespace(logger=None), **modules}
    missing = {name: stub for name, stub in stubs.items() if name not in sys.modules}
    sys.modules.update(missing)
    try:
        spec = importlib.util.spec_from_file_location(f"lmms_{path.replace('/', '_')}", folder / f"{path}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        for name in missing:
            del sys.modules[name]
    return module


def texts(count, seed=0, longest=5):
    chosen = random.Random(seed)
    return [" ".join(chosen.choices(WORDS, k=chosen.randint(0, longest))) for _ in range(count)]


@pytest.fixture(scope="module")
def processor():
    return theirs("tasks/_task_utils/vqa_eval_metric")


def utils(task, processor, file="utils", **more):
    """tasks/TASK/FILE.py of lmms-eval. more: other modules that it imports."""
    files = types.ModuleType("file_utils")
    files.generate_submission_file = None
    package = types.ModuleType("_task_utils")
    package.file_utils = files
    tasks = types.ModuleType("tasks")
    tasks._task_utils = package
    names = {"lmms_eval": types.ModuleType("lmms_eval"), "lmms_eval.tasks": tasks}
    names |= {"lmms_eval.tasks._task_utils": package, "lmms_eval.tasks._task_utils.file_utils": files}
    return theirs(f"tasks/{task}/{file}", **names, **{"lmms_eval.tasks._task_utils.vqa_eval_metric": processor}, **more)


@pytest.mark.parametrize(("task", "ours"), [("vqav2", vqa_accuracy), ("textvqa", textvqa_accuracy)])
def test_vqa_accuracy(task, ours, processor):
    score, answers = utils(task, processor), texts(CASES, longest=2)
    found = []
    for number, answer in enumerate(answers):
        people = random.Random(number).choices([answer, *texts(3, number, 2)], k=10)
        given = [{"answer": text, "answer_id": k} for k, text in enumerate(people)] if task == "vqav2" else list(people)
        document = {"answers": given, "question_id": 0}
        expected = getattr(score, f"{task}_process_results")(document, [answer])["exact_match"]
        assert ours(answer, people) == pytest.approx(expected, abs=1e-12), (answer, people)
        found.append(expected)
    assert 0.2 < np.mean(found) < 0.9


def test_all_contractions(processor):
    from mmjax.metrics.answers import vqa_normal

    own = processor.EvalAIAnswerProcessor()
    for word in {*own.CONTRACTIONS, *own.CONTRACTIONS.values(), *own.NUMBER_MAP, *own.ARTICLES}:
        assert vqa_normal(f"is {word} so") == own.process_digit_article(own.process_punctuation(f"is {word} so")), word


def test_anls():
    from rapidfuzz.distance import Levenshtein  # the distance that lmms-eval imports

    metrics = Path(importlib.util.find_spec("lmms_eval").submodule_search_locations[0]) / "api" / "metrics.py"
    source = metrics.read_text()
    start = source.index("def anls(")
    function: dict = {"levenshtein_distance": Levenshtein.distance}
    exec(source[start : source.index("\ndef ", start + 1)], function)
    for number, (answer, references) in enumerate(zip(texts(CASES, 1), zip(texts(CASES, 2), texts(CASES, 3)))):
        references = [*references, answer[: len(answer) * 3 // 4]] if number % 2 else list(references)
        assert anls(answer, references) == pytest.approx(function["anls"](references, [answer])["anls"], abs=1e-12)


def test_relaxed_match(processor):
    expected, chosen = utils("chartqa", processor).relaxed_correctness, random.Random(0)
    numbers = [chosen.choice(["{:.2f}", "{:.0f}", "{:.1f}%", "{:g} km"]).format(chosen.gauss(5, 5)) for _ in range(2 * CASES)]
    for answer, reference in [*itertools.pairwise(numbers), *zip(numbers, numbers), *zip(texts(50), texts(50)), ("1", "0")]:
        assert relaxed_match(answer, [reference]) == expected(answer, reference), (answer, reference)
        near = f"{1.04 * float(reference.rstrip('%'))}" if reference.rstrip("%").replace(".", "").isdigit() else reference
        assert relaxed_match(near, [reference]) == expected(near, reference), (near, reference)


def test_gqa():
    folder = Path(importlib.util.find_spec("lmms_eval").submodule_search_locations[0])
    source = (folder / "api" / "metrics.py").read_text()
    start = source.index("def exact_match_hf_evaluate(")
    function: dict = {"np": np, "re": re, "string": string}
    exec(source[start : source.index("\n###", start)], function)
    for answer, reference in [*zip(texts(CASES, 4, 1), texts(CASES, 5, 1)), *zip(texts(CASES), map(str.upper, texts(CASES)))]:
        theirs = function["exact_match_hf_evaluate"]([answer], [reference], ignore_case=True, ignore_punctuation=True)
        assert gqa_match(answer, [reference]) == theirs["exact_match"]


def test_choices(processor):
    chosen, options = random.Random(0), ["a green frog", "two red cars", "some bananas", "A"]
    said = ["A", "B", "(C)", "B.", "b", "The answer is (B)", "It is D", "two red cars are on the road, I think", "frog"]
    said += ["A. or B."]
    said += ["C: some bananas", "I can see a green frog and some bananas here", "Answer: B", "A (B)", "A B C", "not A, but B !"]
    said += [" ".join(chosen.choices([*said, "A", "B", "C", "D", "(D)", "or", "."], k=3)) for _ in range(CASES)]
    rules = theirs("tasks/_task_utils/mmmu_mcq_utils")
    index, letters = rules.get_multi_choice_info(options)
    science = utils("scienceqa", processor)
    for answer in said:
        seen = {rules.parse_mmmu_multi_choice_response(answer, letters, index) for _ in range(12)}
        ours = chosen_letter(answer, options)
        assert seen == {ours} or (ours is None and len(seen) > 1), answer
        expected = science.sqa_process_results({"choices": options, "answer": 1}, [answer])["exact_match"]
        assert first_letter(answer, ["B"]) == expected, answer


def test_yes_and_no(processor):
    chosen = random.Random(0)
    said = chosen.choices(["yes", "no", "Yes", "No", "Yes.", "Yes, it is", "not sure", "There is no car.", ""], k=CASES)
    right = chosen.choices(["yes", "no"], k=CASES)
    pope = utils("pope", processor)
    results = [pope.pope_process_results({"answer": b, "question_id": 0}, [a]) for a, b in zip(said, right)]
    outcomes = text_outcomes([ANSWER_METRICS["pope"]], said, [[word] for word in right])
    value = lambda name: float(ANSWER_METRICS[name].metric.value(outcomes, jnp.ones(CASES)))
    of_theirs = {"pope": "accuracy", "pope_precision": "precision", "pope_recall": "recall", "pope_f1": "f1_score"}
    for ours, name in of_theirs.items():
        expected = getattr(pope, f"pope_aggregate_{name}")([result[f"pope_{name}"] for result in results])
        assert value(ours) == pytest.approx(expected, abs=1e-6), name
    mme = utils("mme", processor)
    for answer in [*texts(CASES), *said, "y", "n", "nope", "yesterday", "Y.", "it is yes"]:
        assert yes_no(answer) == mme.parse_pred_ans(answer), answer


def mmmu_utils(processor):
    verifiers = {f"lmms_eval.verifiers{end}": types.ModuleType("verifiers") for end in ("", ".openai")}
    verifiers["lmms_eval.verifiers"].VerificationPipeline = verifiers["lmms_eval.verifiers.openai"].OpenAIVerifier = None
    rules = {"lmms_eval.tasks._task_utils.mmmu_mcq_utils": theirs("tasks/_task_utils/mmmu_mcq_utils")}
    return utils("mmmu", processor, **verifiers, **rules)


def test_open_questions_of_mmmu(processor):
    rules, chosen, found = mmmu_utils(processor), random.Random(0), []
    words = ["so ", "is ", "answer ", "The answer is ", "= ", "x = 3", "\n", ". ", "final result ", "could be ", ":", "-"]
    words += [*"1,000 1000 2.5 2.504 -3 1e3 1.5e-2 .5 7 B a Frog 15,00 nan".split(), "a green frog"]
    references = ["1000", "2.5", "-3", "0.5", "b", "frog", "A green frog", "0.015", "7", "15,00", "3", ""]
    for number in range(3 * CASES):
        answer = " ".join(chosen.choices(words, k=chosen.randint(0, 6)))
        own = chosen.sample(references, 1 + number % 2)
        expected = rules.eval_open(own if len(own) > 1 else own[0], rules.parse_open_response(answer))
        assert (named_reference(answer, own) is not None) == expected, (answer, own)
        found.append(expected)
    assert 0.1 < np.mean(found) < 0.9


def test_scores_of_mme(processor):
    """Its totals and the score of a category, of 14 categories with 3 images each."""
    mme, chosen = utils("mme", processor), random.Random(0)
    mme.eval_logger = types.SimpleNamespace(info=lambda text: None)
    assert {name.lower(): tuple(of) for name, of in mme.eval_type_dict.items()} == MME
    kinds = [kind for of in MME.values() for kind in of]
    asked = [
        VisualQuestion(f"{kind}/{image}/{k}", (), "?", (("yes", "no")[k],), f"{kind}/{image}", kind)
        for kind in kinds for image in range(3) for k in range(2)
    ]  # fmt: skip
    said = [chosen.choice([*question.answers, "yes", "no", "not sure", "y"]) for question in asked]
    results = {}
    for question, answer in zip(asked, said):
        document = {"question_id": question.group, "category": question.category, "answer": question.answers[0].title()}
        for name, result in mme.mme_process_results(document, [answer]).items():
            results.setdefault(name, []).append(result)
            results.setdefault(question.category, []).append(result)
    found = scored(asked, SETS["mme"], said)
    for total in MME:
        expected = mme.mme_aggregate_results(results[f"mme_{total}_score"])
        assert found[ALL][total].mean == pytest.approx(expected, rel=1e-6) and 0 < expected
    for kind in kinds:
        assert found[kind]["score"].mean == pytest.approx(mme.mme_aggregate_results(results[kind]), rel=1e-6)


def test_the_version_is_that_of_the_results():
    assert importlib.metadata.version("lmms_eval") == COMPARED_WITH["lmms_eval"]
