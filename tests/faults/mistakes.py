"""Mistakes on the command line, each with a part of its one-line error; for the tests and the scoreboard."""

from dataclasses import dataclass, replace

from mmjax.data.decode import DataError
from mmjax.encoders import TextRNN
from mmjax.fusion import GMU, MeanLogits
from mmjax.heads import Mean
from mmjax.train.optim import AdamW
from tests.experiment.given import DATA, GOOD


@dataclass(frozen=True)
class Given:
    """The small dataset; `broken` is an error at loading."""

    fold: int = 0
    broken: bool = False

    def load(self):
        if self.broken:
            raise DataError("images.zip is damaged; restore it")
        return DATA


BASE = replace(GOOD, data=Given(), optim=AdamW(), batch=2, steps=2)
CELLS = {
    "concat": BASE,
    "gmu": replace(BASE, fusion=GMU(width=4)),
    "late": replace(BASE, fusion=MeanLogits(4, width=4), heads={"label": Mean()}),
    "text": replace(BASE, encoders={"text": TextRNN(vocabulary=30, embedding=4)}),
}

MISTAKES = [
    ("cocnat", "there is no cell 'cocnat'; did you mean concat?"),
    ("concat --fusion.widht 3", "has no flag --fusion.widht"),
    ("--seeds 0", "--seeds is 0; it must be at least 1"),
    ("--seeds two", "error: --seeds: invalid literal for int() with base 10: 'two'; expected --seeds INT"),
    ("--seeds-at-once 0", "--seeds-at-once is 0"),
    ("--steps-per-call 0", "--steps-per-call is 0"),
    ("--checkpoint-keep 0", "--checkpoint-keep is 0; it must be at least 1"),
    ("--device-memory -1", "--device-memory is -1.0; it must be a number of gigabytes, at least 0"),
    ("--device-memory inf", "--device-memory is inf"),
    ("--plan tpu", "error: invalid choice 'tpu' for argument '--plan'. Expected one of ('single', 'pmap', 'sharded')"),
    ("--folds three", "expected --folds {None,all}|INT"),
    ("--folds all", "Given has an official test split, so it has no folds"),
    ("--full", "has no --full size"),
    ("--against nobody", "--against is 'nobody', not a cell of this run; the cells are concat"),
    ("--steps 0", "steps is 0; it must be at least 1"),
    ("--batch 0", "batch is 0; it must be at least 1"),
    ("--batch -4", "batch is -4; it must be at least 1"),
    ("--evaluate-every 0", "evaluate_every is 0"),
    ("--select label.bleu", "select is 'label.bleu', but the metrics of 'label' are accuracy"),
    ("--select mood.accuracy", "select is 'mood.accuracy', but the tasks are label"),
    ("--groups language", "groups: the data have no column 'language'; they have group, id"),
    ("--optim.lr 0", "AdamW.lr is 0.0"),
    ("--optim.lr nan", "AdamW.lr is nan"),
    ("--optim.lr inf", "AdamW.lr is inf"),
    ("--optim.clip inf", "AdamW.clip is inf"),
    ("--optim.clip 0", "AdamW.clip is 0.0"),
    ("--optim.decay -1", "AdamW.decay is -1.0"),
    ("--optim.schedule.warmup 2", "warmup is 2.0"),
    ("concat --fusion.width 0", "Concat.width is 0"),
    ("concat --fusion.width -3", "Concat.width is -3"),
    ("concat --fusion.dropout 1.5", "1.5"),
    ("gmu --fusion.width 0", "GMU.width is 0"),
    ("late --fusion.classes 0", "MeanLogits.classes is 0"),
    ("concat --heads.label.classes 0", "Classifier.classes is 0"),
    ("concat --heads.label.classes 7", "tasks.label: Classify.output"),
    ("text --encoders.text.vocabulary 3", "encoders.text.vocabulary is 3, but the tokenizer has 30 tokens"),
    ("text --encoders.text.embedding 0", "TextRNN.embedding is 0"),
    ("concat --encoders.image.widths 0", "CNN.widths"),
    ("concat --tasks.label.output mood", "tasks.label: Classify.output"),
    ("concat stray --steps 3", "there is no cell 'stray'"),
    ("--data.broken", "images.zip is damaged; restore it"),
    ("--seeds -1", "--seeds"),
    ("--seeds 1.5", "--seeds"),
    ("--seeds", "error: Missing value for argument '--seeds'. Expected 1 values"),
    ("--dtype int8", "--dtype"),
    ("--resume yes", "neither a flag nor the value of one"),
    ("--keep-prediction", "did you mean --keep-predictions?"),
    ("--optim.rl 3", "did you mean --optim.lr?"),
    ("--steps -5", "steps is -5; it must be at least 1"),
    ("--steps many", "--steps"),
    ("--checkpoint-every 0", "checkpoint_every is 0"),
    ("--evaluate-every -3", "evaluate_every is -3"),
    ("--steps-per-call 1.5", "--steps-per-call"),
    ("--seeds-at-once -2", "--seeds-at-once"),
    ("--device-memory nan", "--device-memory is nan"),
    ("--select accuracy", "select"),
    ("--against", "--against"),
    ("--optim.lr -0.1", "AdamW.lr is -0.1"),
    ("--optim.schedule.end nan", "end is nan"),
    ("concat --fusion.dropout nan", "nan"),
    ("concat --fusion.dropout -0.1", "-0.1"),
    ("text --encoders.text.dropout 1", "dropout is 1.0"),
]
