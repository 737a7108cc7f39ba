"""Experiments that do not fit together are refused by the name of the field, before anything compiles."""

from dataclasses import replace

import pytest

from mmjax.encoders import CNN, FrameRNN, TextRNN
from mmjax.experiment import ExperimentError
from mmjax.experiment.check import check
from mmjax.fusion import MISA, Concat, FiLM, MeanLogits, Parallel, Serial, SumLogits
from mmjax.fusion.published import logit_heads, misa_heads
from mmjax.heads import Classifier, Mean, Regressor
from mmjax.losses import On, misa_loss
from mmjax.tasks import Classify
from mmjax.train.balance import OGMGE, GradNorm, ogm_ge
from mmjax.train.optim import Adam
from mmjax.train.stages import Stage
from tests.experiment.given import DATA, GOOD

BOTH, TEXT_HEAD = ("image", "text"), {"text": {"label": Classifier(4)}}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fusion": MeanLogits(4), "heads": {"label": Mean()}},
        {"encoders": {"text": TextRNN(vocabulary=31)}},  # more than needed
        {"fusion": None, "heads": {}, "unimodal_heads": TEXT_HEAD, "tasks": {"label": Classify("text.label")}},
        {"select": "label.f1_macro"},
        {"select": "loss"},
        {"tasks": {"a.b": Classify("label")}, "select": "a.b.accuracy"},
        {"fusion": SumLogits(4), "heads": {"label": Mean(), **logit_heads("label", BOTH)}, "gradient": ogm_ge(0.4)},
        {"fusion": MISA(4), "heads": {"label": Classifier(4), **misa_heads(BOTH)}, "loss": misa_loss(On("label"), BOTH)},
    ],
)
def test_fitting_experiments_are_accepted(changes):
    check(replace(GOOD, **changes), DATA)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoders": {"text": TextRNN(vocabulary=29)}}, r"encoders\.text\.vocabulary is 29, .* 30 tokens"),
        ({"heads": {"label": Classifier(5)}}, r"tasks\.label: Classify\.output: 'label' .*5.* 4"),
        ({"fusion": MeanLogits(3), "heads": {"label": Mean()}}, r"tasks\.label: Classify\.output: 'label' .*3.* 4"),
        ({"encoders": {"audio": FrameRNN()}}, r"encoders\.audio: the data have no 'audio'; they have image, text"),
        ({"encoders": {}}, "at least one encoder"),
        ({"heads": {}}, "at least one encoder and one head"),
        ({"fusion": None}, r"fusion is None, but the heads and decoders label need fused tokens"),
        ({"tasks": {}}, r"tasks is empty"),
        ({"tasks": {"a/b": Classify("label")}}, r"tasks: the name 'a/b' cannot be a file name"),
        ({"tasks": {"label": Classify("mood")}}, r"tasks\.label: Classify\.output: .*'mood'"),
        ({"tasks": {"label": Classify("label", target="mood")}}, r"tasks\.label: Classify\.target: .*'mood'.*label"),
        ({"select": "mood.accuracy"}, r"select is 'mood\.accuracy', but the tasks are label"),
        ({"select": "label.bleu"}, r"select is 'label\.bleu', but the metrics of 'label' are accuracy, "),
        ({"groups": ("language",)}, r"groups: the data have no column 'language'; they have group, id"),
        ({"encoders": {"image": CNN(widths=(4, 4, 4, 4))}}, r"encoders\.image: CNN\(widths=.*8 x 8"),
        ({"fusion": Concat(dropout=1.0)}, r"fusion: .*1\.0"),
        ({"encoders": {"text": CNN()}}, r"encoders\.text: CNN\(\) does not take .*int32"),
        ({"encoders": {"image": TextRNN(vocabulary=30)}}, r"encoders\.image: TextRNN\(.*\) does not take float32\["),
        ({"fusion": FiLM("audio")}, r"fusion: FiLM\(.*audio"),
        ({"fusion": Serial(("image", "sound"), Concat(), Concat())}, r"fusion: Serial.*sound"),
        ({"fusion": Parallel({"a": MeanLogits(3)}, Concat()), "heads": {"label": Regressor(2)}}, r"tasks\.label: .*2.* 4"),
        ({"gradient": GradNorm(("a", "b"))}, r"training: GradNorm\.losses is .*\['loss'\]"),
        ({"gradient": OGMGE()}, r"training: OGMGE compares the outputs"),
        ({"unimodal_heads": {"sound": {"label": Classifier(4)}}}, r"unimodal_heads\.sound: there is no encoder 'sound'"),
        ({"stages": (Stage(1.0, ("encoder_text",)),)}, r"stages\.0\.learns: no parameter begins with 'encoder_text'"),
        ({"loss": On("mood")}, r"training: .*'mood'"),
        ({"optim": Adam(lr=0.0)}, r"training: Adam\.lr is 0\.0"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"batch": -1}, "batch is -1"),
        ({"evaluate_every": 0}, "evaluate_every is 0"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ExperimentError, match=message):
        check(replace(GOOD, **changes), DATA)
