"""Every experiment file runs from beginning to end, shrunk by flags: `stamps_fusion` with all its cells, the others with one or
two. A slow test checks every cell of every file against its data."""

import ast
import json
import os
import runpy
import warnings
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from mmjax.runs.read import read_outcomes, read_run, read_units
from tests.data.av_digits.tiny import write_digits
from tests.data.crema_d.tiny import write_clips
from tests.data.easy_vqa.test_easy_vqa import wheel
from tests.data.emoji.packages import write_packages
from tests.data.exercises.wheels import content, write_wheel
from tests.data.fillets.test_fillets import packages
from tests.data.mm_imdb.tiny import write_movies
from tests.data.mosi_mmsa import write_mmsa
from tests.data.openclipart.tiny import groups_file, write_drawings
from tests.data.wesnoth.test_clips import write_units
from tests.data.wesnoth.test_wesnoth import package
from tests.end_to_end.conftest import FLAGS, ROOT
from tests.pretrained.tiny import bert_folder, image_folder, language_folder, speech_folder

FILES = sorted((ROOT / "experiments").glob("*.py"))
MOSI = Path(os.environ.get("MMJAX_MOSI", ROOT.parent / "shared" / "data" / "mosi"))
SMALL = "--batch 8 --seeds 2 --steps 24 --evaluate-every 8 --checkpoint-every 1000".split()
TWO_LANGUAGES = ["--data.speech-languages", "lt", "nl", "--unimodal-heads.audio.language.classes", "2", *FLAGS[2:]]
WEIGHTS, PICTURES, SPEECH = (f"a folder of {kind} weights that a test makes" for kind in ("text", "picture", "speech"))
TINY_BERT = "vocabulary 12 width 8 heads 2 hidden 12 positions 10".split()
TINY_BERT = [f"--encoders.text.{word}" if word.isalpha() else word for word in TINY_BERT]
FROM_WEIGHTS = ["--weights.encoders-text", WEIGHTS, "--data.tokenizer.source", WEIGHTS, *TINY_BERT, *SMALL]
THREE = ["--data.weights", "image", PICTURES, "text", WEIGHTS, "audio", f"{SPEECH}#encoder", *FLAGS]
EMOJI, WATCH = "a folder of packages of emoji that a test makes", "a folder with a wheel of recordings that a test makes"
TWO, OTHER_FOLD = ["--data.race-units", "2"], ["--data.folds", "3", "--data.fold", "1"]
VOICED = ["--data.weights", "image", PICTURES, "speech", f"{SPEECH}#encoder", "--data.sound-seconds", "0.4"]
LINES = "a folder of packages of spoken lines that a test makes"
UNITS = "a folder with a package of units of a game that a test makes"
TEXTS = "a folder with a package of units and translations that a test makes"
LANGUAGE = "a folder of weights of a language model that a test makes"
ASKED = "a folder with a wheel of questions that a test makes"
SENTIMENTS = "a folder with features of scored utterances that a test makes"
SPOKEN_DIGITS = "a folder of written and spoken digits that a test makes"
MOVIES, ACTED = "a folder of posters and plots that a test makes", "a folder of acted emotions that a test makes"
TINY_LANGUAGE = "vocabulary 259 width 8 depth 1 heads 2 kv-heads 1 hidden 12 positions 64".split()
TINY_CHAT = [word if word[0].isdigit() else f"--decoders.caption.encoder.decoder.model.{word}" for word in TINY_LANGUAGE]
TINY_LANGUAGE = [word if word[0].isdigit() else f"--decoders.reply.encoder.decoder.{word}" for word in TINY_LANGUAGE]
DRAWN, GROUPED = "a folder of drawings that a test makes", "the file of their groups"
SEEN = ["--data.root", DRAWN, "--data.groups", GROUPED, "--data.image-size", "16", *SMALL]
# file -> (cells that run, flags that shrink them)
SOME = {
    "matching_vgg_gru": ("augmented", FLAGS),
    "weighted_sum": ("hybrid", FLAGS),
    "cross_attention": ("bottleneck_1", FLAGS),
    "trimodal_multitask": ("tasks_gradnorm language_single", TWO_LANGUAGES),
    "fusion_levels": ("result_stacked", FLAGS),
    "vowel_series": ("data", SMALL),
    "transfer": ("staged", FROM_WEIGHTS),
    "stamps_pretrained": ("concat text_audio", THREE),
    "published_fusions": ("tensor pair_ogm_ge", THREE),
    "prompt_ensembles": ("ensemble", [*THREE[:5], "--data.image-size", "16", *SMALL]),
    "blind_questions": (
        "both",
        ["--data.weights", "image", PICTURES, "--data.root", ASKED,
         *"--heads.answer.classes 6 --data.images 12 4 --data.folds 3".split(), *SMALL],
    ),
    "robustness_of_fusion": ("raw_audio raw_audio-audio", FLAGS),
    "compressed_stamps": ("float int8 magnitude_90", THREE),
    "gan_augmentation": ("gan", [*THREE, "--data.gan.steps", "20"]),
    "missing_modality_imputation": ("gan", THREE),
    "private_stamps": ("scratch_eps8", FLAGS),
    "stamps_retrieval": ("scratch_siglip", FLAGS),
    "stamps_tags": ("concat", ["--data.image-size", "16", *SMALL]),
    "stamps_duration": ("huber", FLAGS),
    "emoji_sentiment": ("both", [*THREE[:5], "--data.root", EMOJI, *SMALL]),
    "emoji_retrieval": ("adapter", [*THREE[:3], "--data.root", EMOJI, "--data.image-size", "16", *SMALL]),
    "tiny_vlm": (
        "mlp wrong_image",
        ["--data.root", ASKED, *"--data.images 12 4 --data.folds 3 --encoders.question.vocabulary 259".split(),
         "--data.weights", "image", PICTURES, "--data.tokenizer.source", LANGUAGE, "--data.target-tokenizer.source", LANGUAGE,
         "--weights.decoders-reply/base", LANGUAGE, "--weights.encoders-question", f"{LANGUAGE}#words", *TINY_LANGUAGE,
         *"--encoders.question.width 8 --fusion.branches.image.fusion.connector.width 8".split(),
         *"--fusion.branches.image.fusion.side 2 --fusion.branches.image.fusion.grid 4 4".split(), *SMALL],
    ),
    "stamps_speech_retrieval": ("bound", [*THREE, "--data.speech-languages", "lt", "nl"]),
    "video_summary": (
        "key1 wrong_video",
        [*"--data.weights video".split(), PICTURES, "text", WEIGHTS, "--data.root", UNITS, "--data.folds", "3",
         "--data.size", "8", "--data.frames", "3", *SMALL],
    ),
    "sensor_exercises": ("early", ["--data.root", WATCH, "--data.seconds", "2", *SMALL]),
    "stamps_captions": ("image", THREE),
    "stamps_chat": (
        "both wrong_image",
        [*THREE, "--data.target-tokenizer.source", LANGUAGE, "--weights.decoders-caption/base", LANGUAGE, *TINY_CHAT,
         *"--fusion.width 8 --fusion.hidden 8 --decoders.caption.encoder.decoder.prompt 1 260 259 70".split()],
    ),
    "openclipart_captions": ("both", [*THREE[:3], "--data.root", DRAWN, "--data.groups", GROUPED, *SMALL]),
    "openclipart_retrieval": (
        "frozen",
        [*"--data.weights image".split(), PICTURES, "caption", WEIGHTS, "keywords", WEIGHTS, *SEEN],
    ),
    "fillets_speech": (
        "cs_scratch",
        ["--data.root", LINES, *"--data.voice-lines 1 --data.folds 3 --data.fold 1 --data.mel.hop 0.01".split(), *SMALL],
    ),
    "stamps_speech": ("joint", ["--data.speech-languages", "lt", "nl", "--data.image-size", "16", *SMALL]),
    "fillets_translation": ("all", [*VOICED, "--data.root", LINES, "--data.voice-lines", "2", *OTHER_FOLD, *SMALL]),
    "wesnoth_translation": ("both", ["--data.root", TEXTS, "--data.folds", "3", "--data.languages", "de", "fr", *TWO, *SMALL]),
    "small_language_model": (
        "scratch",
        ["--data.root", TEXTS, *"--data.folds 3 --data.window-tokens 64 --data.row-tokens 64".split(), *TWO, *SMALL],
    ),
    "mosi_sentiment": ("bc_all text", ["--data.root", str(MOSI), *SMALL]),
    "mmsa_mosi": (
        "misa self_mm",
        ["--data.root", SENTIMENTS, "--weights.encoders-text/encoder", WEIGHTS, "--encoders.text.encoder.depth", "6",
         *(word.replace("text.", "text.encoder.") for word in TINY_BERT), *SMALL],
    ),
    "av_digits": ("late low_rank audio", ["--data.root", SPOKEN_DIGITS, "--data.validation", "8", *SMALL]),
    "mm_imdb": ("gmu text", [*THREE[:5], "--data.root", MOVIES, "--data.image-size", "16", "--data.max-tokens", "16", *SMALL]),
    "crema_d": (
        "ogm_ge ogm",
        ["--data.root", ACTED, *"--data.image-size 8 --data.seconds 0.2 --encoders.image.stages 1 4 1 8".split(),
         *"--encoders.audio.network.stages 1 4 1 8".split(), *SMALL],
    ),
}
# file -> (its data, a folder) -> the same on data that a test makes, since nobody may ship the real ones
MADE = {
    "av_digits": lambda data, folder: replace(data, root=write_digits(folder), validation=8),
    "crema_d": lambda data, folder: replace(data, root=write_clips(folder), image_size=16),
    "mmsa_mosi": lambda data, folder: replace(data, root=write_mmsa(folder)) if hasattr(data, "root") else data,
}
each = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
# They show little that the others do not.
DEAR = (
    "robustness_of_fusion",
    "stamps_duration",
    "matching_vgg_gru",
    "cross_attention",
    "trimodal_multitask",
    "fusion_levels",
    "vowel_series",
    "private_stamps",
    "gan_augmentation",
    "emoji_sentiment",
    "sensor_exercises",
    "weighted_sum",
    "stamps_captions",
    "stamps_chat",
    "stamps_tags",
    "stamps_retrieval",
    "mosi_sentiment",
    "missing_modality_imputation",
    "compressed_stamps",
    "emoji_retrieval",
    "stamps_speech_retrieval",
    "video_summary",
    "openclipart_captions",
    "openclipart_retrieval",
    "fillets_speech",
    "stamps_speech",
    "fillets_translation",
    "wesnoth_translation",
    "small_language_model",
    "tiny_vlm",
    "published_fusions",
    "prompt_ensembles",
    "blind_questions",
    "av_digits",
    "mmsa_mosi",
    "mm_imdb",
    "crema_d",
)  # fmt: skip
others = pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in DEAR else n for n in SOME])


def needs_weights(experiment) -> bool:
    """Whether the experiment fetches published weights; tests/parity checks those cells."""
    return bool(experiment.weights) or "CachedFeatures" in repr(experiment.data)


def skip_without_mosi(name: str) -> None:
    if name == "mosi_sentiment" and not MOSI.is_dir():
        pytest.skip("CMU-MOSI's features are not ours to ship: name their folder in MMJAX_MOSI")


@each
def test_docstring_gives_command_time_and_expectation(file):
    doc = ast.get_docstring(ast.parse(file.read_text())) or ""
    lines = doc.splitlines()
    for word in ("Run:", "Time:", "Expected:"):
        assert any(line.startswith(word) and line.removeprefix(word).strip() for line in lines), word
    assert f"python experiments/{file.name}" in doc
    assert not any(word in file.read_text() for word in ("TODO", "(to be", "(table", "not measured"))


def test_all_files_are_run():
    assert {file.stem for file in FILES} == {"stamps_fusion", *SOME}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stamps_fusion", *sorted(SOME)])
def test_every_cell_fits_its_data(name, monkeypatch, tmp_path):
    """Also in full size: shapes, classes, losses and stages of every cell, nothing compiled."""
    from mmjax.experiment.load import load_and_check

    skip_without_mosi(name)
    monkeypatch.setenv("MMJAX_MOSI", str(MOSI))
    monkeypatch.syspath_prepend(ROOT / "experiments")  # some files import others
    file = runpy.run_path(str(ROOT / "experiments" / f"{name}.py"))
    made = lambda one: replace(one, data=MADE[name](one.data, tmp_path)) if name in MADE else one
    for cells in (file["ABLATIONS"], file.get("BY_NAME", {}), file.get("FULL", {})):
        with warnings.catch_warnings():  # one keyword such as "flag" is all that many drawings have
            warnings.filterwarnings("ignore", ".*split have 'keywords' equal", UserWarning)
            load_and_check({cell: made(experiment) for cell, experiment in cells.items() if not needs_weights(experiment)})


@others
@pytest.mark.end_to_end
def test_some_cells_run_and_are_scored(name, commands, tmp_path):
    skip_without_mosi(name)
    cells, flags = SOME[name]
    if {WEIGHTS, PICTURES} & set(flags):
        text = bert_folder(tmp_path / "text", num_hidden_layers=6)
        made = {WEIGHTS: text, PICTURES: image_folder(tmp_path / "pictures"), SPEECH: speech_folder(tmp_path / "speech")}
        made[LANGUAGE] = language_folder(tmp_path / "language")
        flags = ["#".join([str(made.get(source, source)), *part]) for source, *part in (flag.split("#") for flag in flags)]
    folders = {EMOJI: write_packages, LINES: packages, WATCH: lambda folder: write_wheel(folder, content(subjects=10))}
    folders |= {SPOKEN_DIGITS: write_digits, SENTIMENTS: write_mmsa, MOVIES: write_movies, ACTED: write_clips}
    folders |= {ASKED: wheel, DRAWN: write_drawings, GROUPED: groups_file, UNITS: write_units, TEXTS: package}
    flags = [str(folders[flag](tmp_path / "data")) if flag in folders else flag for flag in flags]
    output = commands.run(ROOT / "experiments" / f"{name}.py", *cells.split(), *flags, "--out", tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert set(run.results["cells"]) == set(cells.split())
    for cell, entry in run.results["cells"].items():
        assert cell in output
        assert set(entry["tasks"]) == set(entry["experiment"]["tasks"])
        for task, scored in entry["tasks"].items():
            assert scored["complete"] == list(scored["subsets"])[-1]
            bounds = {name: metric["bounds"] for name, metric in run.results["tasks"][task]["metrics"].items()}
            for name, estimate in scored["subsets"][scored["complete"]].items():
                low, high = (sign * np.inf if bound is None else bound for sign, bound in zip((-1, 1), bounds[name]))
                assert low <= estimate["low"] <= estimate["mean"] <= estimate["high"] <= high
        assert len(entry["seeds"]) == 2
        stages = entry["stages"]
        assert len(stages) == len(entry["experiment"]["stages"]) and (stages or name not in ("weighted_sum", "transfer"))
        assert [stage["first"] for stage in stages] == [1, *(stage["last"] + 1 for stage in stages)][: len(stages)]
        assert all(0 < stage["parameters"] <= entry["parameters"] for stage in stages)
        assert not stages or stages[-1]["last"] == 24
        assert name not in ("weighted_sum", "transfer") or stages[0]["parameters"] < entry["parameters"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SOME if "\nFULL = " in (ROOT / "experiments" / f"{name}.py").read_text()])
def test_full_size_compiles_and_takes_a_step(name, commands):
    cell = {"matching_vgg_gru": "product", "weighted_sum": "parallel", "cross_attention": "text_asks"}.get(name)
    cell = cell or {"trimodal_multitask": "tasks_equal", "fusion_levels": "model"}[name]
    args = f"{cell} --full --costs --seeds 1 --batch 2".split()
    output = commands.run(ROOT / "experiments" / f"{name}.py", *args)
    lines = [line.split() for line in output.splitlines() if line.split()[:1] == [cell]]
    assert len(lines) == (3 if name == "weighted_sum" else 1)  # its stages
    assert all("2" in line and np.isfinite(float(line[-1])) and float(line[-1]) > 0 for line in lines)


@pytest.mark.end_to_end
def test_whole_file_writes_a_complete_run(whole):
    out = whole(ROOT / "experiments" / "stamps_fusion.py")
    run = read_run(out)
    units, _ = read_units(out, "label", ["all"])
    assert (out / "report.html").stat().st_size > 10_000
    assert run.results["cells"].keys() == {folder.name for folder in (out / "cells").iterdir()}
    for cell, entry in run.results["cells"].items():
        names, subsets = entry["modalities"], entry["tasks"]["label"]["subsets"]
        assert names == sorted(names)
        assert set(subsets) == {"+".join(c) for size in range(1, len(names) + 1) for c in combinations(names, size)}
        assert run.curves(cell)["all"]["step"].tolist() == [8, 16, 24]
        # The accuracy in results.json is the share counted by hand from the outcomes.
        record = json.loads((out / "cells" / cell / "cell.json").read_text())
        for subset, outcomes in read_outcomes(out / "cells" / cell, record["parts"], "label").items():
            hit = outcomes["predicted"] == units.target["label"]
            by_hand = (hit * units.weight).sum(-1) / units.weight.sum()
            np.testing.assert_allclose(subsets[subset]["accuracy"]["per_seed"], by_hand, atol=1e-6)
        assert list((out / "cells" / cell / "all" / "tensorboard").rglob("*tfevents*"))
        lines = (out / "cells" / cell / "all" / "curves.csv").read_text().splitlines()
        assert lines[0].startswith("step,seed,") and len(lines) == 1 + 3 * len(entry["seeds"])
        assert entry["experiment"]["data"]["image_size"] == 16  # the flags reach every cell
        assert set(entry["tasks"]["label"]["groups"]) == {"language"}
        assert {"gradient_norm", "update_norm"} <= set(run.curves(cell)["all"])
    assert len(run.examples()) == 100
    json.dumps(run.results, allow_nan=False)


@pytest.mark.end_to_end
def test_streamed_over_four_devices_gives_what_one_device_gives(commands, whole, tmp_path):
    """Read by Grain instead of from the device, and every batch split over four: the same training, to rounding."""
    file = ROOT / "experiments" / "stamps_fusion.py"
    reference = whole(file) / "cells" / "image"
    args = ["image", *FLAGS, "--device-memory", 0, "--plan", "pmap", "--out", tmp_path / "run"]
    output = commands.run(file, *args, devices=4)
    assert "so Grain streams them" in " ".join(output.split())
    cell = tmp_path / "run" / "cells" / "image"
    assert read_run(tmp_path / "run").results["plan"] == "pmap"
    assert "x 4" in read_run(tmp_path / "run").results["device"]
    assert not list(cell.rglob("*tfevents*"))  # only with --log tensorboard
    with np.load(cell / "all" / "outcomes.npz") as a, np.load(reference / "all" / "outcomes.npz") as b:
        assert (a["label/image/predicted"] == b["label/image/predicted"]).mean() > 0.99
        np.testing.assert_allclose(a["label/image/probability"], b["label/image/probability"], atol=5e-3)
    ours, theirs = (
        [json.loads(line) for line in (at / "all" / "curves.jsonl").read_text().splitlines()] for at in (cell, reference)
    )
    for point, expected in zip(ours, theirs, strict=True):
        for name in ("train_loss", "validation_loss", "gradient_norm"):
            np.testing.assert_allclose(point[name], expected[name], rtol=2e-3, err_msg=name)
        np.testing.assert_allclose(point["validation_accuracy"], expected["validation_accuracy"], atol=1.5 / 169)
