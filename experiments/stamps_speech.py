"""Recognition of spoken names in eight languages: alignment (CTC), attention, or both? And does the image help?

The name of a stamp is read in Belarusian, Bulgarian, Catalan, Greek, Spanish, French, Romanian or Russian, and a model writes
its characters; the language is not given. A bidirectional LSTM reads log-mel frames of clips of at most 3 s. `ctc` aligns
characters to frames, `attention` writes them with a cross-attention Transformer, `joint` learns both (0.3 CTC + 0.7 attention).
The joint model is trained once and decoded in four ways: `name`, greedily by attention; `beam`, by beam search of attention
(4 beams); `one_pass`, by the same search with 0.3 CTC + 0.7 attention (Watanabe et al., 2017); `ctc_head`, by its CTC head.
`image` is `ctc` whose frames are scaled and shifted by the drawing of the stamp (FiLM); `wrong_image` is the same model with
the drawing of another test clip. All from scratch, without a language model. Texts are compared in lower case without
punctuation; texts that need more frames than their clip has are left out of the loss.

Run: python experiments/stamps_speech.py --seeds 3 --against ctc
Time: 26 CPU minutes and 2.2 GB
Expected: 1,149 test clips of stamps in unseen leak-free groups (fold 0), mean of 3 seeds after 600 steps of 64 rows (11 epochs)
[95 % interval over groups and seeds]; differences in CER are paired
    cell, search        CER                     WER     against beam                         against ctc
    ctc                 0.708 [0.683, 0.734]    0.896   better: -0.117 [-0.145, -0.088]
    joint, name         0.828 [0.749, 0.916]    1.01    inconclusive: 0.003 [-0.093, 0.099]  worse: 0.120 [0.036, 0.204]
    joint, beam         0.825 [0.793, 0.858]    1.02                                         worse: 0.117 [0.088, 0.145]
    joint, one_pass     0.754 [0.723, 0.785]    0.994   better: -0.071 [-0.099, -0.044]      worse: 0.046 [0.017, 0.075]
    joint, ctc_head     0.957 [0.950, 0.964]    0.959                                        worse: 0.249 [0.227, 0.271]
    attention           0.878 [0.661, 1.167]    1.11                                         inconclusive
    image               0.654 [0.625, 0.685]    0.892                                        better: -0.054 [-0.069, -0.039]
    wrong_image         0.659 [0.630, 0.690]    0.896                                        better: -0.049 [-0.064, -0.033]
    most common name    0.892 [0.877, 0.908]    1.03
    nearest image       1.09 [1.00, 1.18]       1.14
This run is older than the baseline of the nearest voice.
Conclusion: one-pass decoding is better than beam search of this joint model: it lowers the CER by 0.071, as Watanabe et al.
report, although the CTC head alone writes almost nothing. Fewer characters are missing (0.42 of all, not 0.56), more are wrong
(0.30, not 0.23), and few are superfluous in either (0.04). Dividing by the length does not do this: beam search with it has
0.824, and one pass is better by 0.070 [0.043, 0.097]. Against greedy search, whose seeds differ more, one pass is inconclusive
(-0.074 [-0.162, 0.013]; 0.113 could have been detected), and so are the differences in WER between the three searches. That
learning both beats CTC alone does not reproduce: `ctc` is better than every search of `joint`. The image is not shown to help
by its content: another stamp's image does as well (-0.005 [-0.014, 0.004]; 0.013 could have been detected), so what `image`
gains over `ctc` is what any image gives the model, such as more parameters. Ten seeds of these three cells agree: -0.043
[-0.055, -0.030] against `ctc`, -0.004 [-0.011, 0.004] against `wrong_image` (claim speech_image). Training has not converged:
on the validation split, seed 0 of `ctc` reaches 0.616 after 1,200 steps; and the step of `joint` is selected by the CER of
greedy search, which is erratic (seed 0: 0.79, 1.06, 0.95, 0.86), so an early step may be selected, before its CTC head has
learned. Settings were chosen for `ctc` on its validation split. The table is of three seeds, not ten.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mmjax.data.augment import SpecAugment
from mmjax.data.short_clips import ShortClips
from mmjax.data.stamps.dataset import Stamps
from mmjax.data.text import Characters
from mmjax.data.text_target import TextTarget
from mmjax.decoders import Decoder
from mmjax.encoders import CNN, FrameRNN
from mmjax.experiment import Experiment, main
from mmjax.fusion import FiLM
from mmjax.heads import TokenLogits
from mmjax.losses import CTC, On, WeightedLosses
from mmjax.nn.mel import LogMel
from mmjax.nn.recurrent import LSTM, Bidirectional
from mmjax.robust.wrong_pairs import WrongPairs
from mmjax.tasks import Generate
from mmjax.tasks.search import CTCGreedy, Greedy, JointBeam
from mmjax.train.optim import AdamW
from mmjax.types import Tokens

SECONDS, WIDTH, VOCABULARY, LONGEST = 3.0, 96, 160, 64  # LONGEST: characters of a name, with its end
LANGUAGES = ("be", "bg", "ca", "el", "es", "fr", "ro", "ru")
STAMPS = Stamps(speech_languages=LANGUAGES, seconds=SECONDS, image_size=32, mel=LogMel(window=0.05, hop=0.04))


@dataclass(frozen=True)
class Written:
    """A search for all cells: greedy, by the decoder or the CTC head, whichever has the name of the output.

    max_tokens: the longest text of a decoder, in tokens, with its end token.
    """

    max_tokens: int = LONGEST

    def __call__(
        self, apply: Callable[..., Any], output: str, tokens: Mapping[str, Tokens], present: Mapping[str, Any]
    ) -> Any:
        aligned = isinstance(apply(tokens, present)[output], Tokens)
        return (CTCGreedy() if aligned else Greedy(self.max_tokens))(apply, output, tokens, present)


NAME = Generate("name", search=Written(), scores=("cer_lower", "wer_lower"), nearest=("image", "audio"))
ONE_PASS = JointBeam("name_ctc", weight=0.3, beams=4, max_tokens=LONGEST)
SEARCHES = {
    "name": NAME,
    "beam": replace(NAME, search=replace(ONE_PASS, weight=0.0)),
    "one_pass": replace(NAME, search=ONE_PASS),
    "ctc_head": replace(NAME, output="name_ctc", target="name", search=CTCGreedy()),
}
ALIGNED = On("name", CTC(per_id=True, zero_infinity=True))
BASE = Experiment(
    data=TextTarget(ShortClips(STAMPS, max_seconds=SECONDS), "transcript", "name", Characters(), LONGEST),
    encoders={"audio": FrameRNN(width=WIDTH, layer=Bidirectional(LSTM(WIDTH)), every_step=True, dropout=0.1)},
    fusion=FiLM("audio", width=WIDTH, dropout=0.1),
    heads={"name": TokenLogits(VOCABULARY)},
    loss=ALIGNED,
    tasks={"name": NAME},
    groups=("language",),
    steps=600,
    batch=64,
    evaluate_every=150,
    optim=AdamW(lr=5e-3, decay=0.01),
    augment={"stripes": SpecAugment(bands=4, frames=3, band_masks=1, frame_masks=1)},
)
DECODERS = {"name": Decoder(VOCABULARY, width=WIDTH, depth=2, heads=4, hidden=192, positions=LONGEST + 1, dropout=0.2)}
IMAGE = replace(BASE, encoders={**BASE.encoders, "image": CNN((8, 16, 32), dropout=0.2)})

ABLATIONS = {
    "ctc": BASE,
    "attention": replace(BASE, heads={}, decoders=DECODERS, loss=On("name")),
    "joint": replace(
        BASE,
        heads={"name_ctc": TokenLogits(VOCABULARY)},
        decoders=DECODERS,
        loss=WeightedLosses({"name": (On("name"), 0.7), "ctc": (replace(ALIGNED, output="name_ctc", target="name"), 0.3)}),
        tasks=SEARCHES,
    ),
    "image": IMAGE,
    "wrong_image": replace(IMAGE, attack=WrongPairs(("image",))),
}

if __name__ == "__main__":
    main(ABLATIONS)
