"""What is it? A chat model that sees an image, hears a voice, or both answers with the name of a stamp.

A frozen EfficientNet-Lite0 sees the image, the frozen encoder of Whisper tiny.en hears a description spoken in French, Russian
or Spanish; each gives the mean of its outputs. A connector makes one vector of either, and SmolLM2-135M-Instruct reads them in
its chat template, between "user" and the question. It answers in English, such as "A green frog." Connectors and low-rank
matrices of the language model learn, with loss on the answer alone; modalities are left out at random, so that one model
answers with any of them. In `connectors` the language model is frozen, in `staged` it is for the first half of the steps;
`wrong_image` and `wrong_audio` test whether the model looks and listens: each example gets the input of another one. Data,
split and scores are those of `stamps_captions`.

Run: python experiments/stamps_chat.py both wrong_image wrong_audio --seeds 1 --against both
Time: 19 CPU minutes and 5.7 GB on a busy machine, features not counted; fetches 265 MB of weights through pip once
Expected: 491 test clips of stamps in unseen leak-free groups (fold 0), 200 steps of 16 of 1,482 training clips, one seed [95 %
interval over groups]; the difference in CIDEr-D to the cell both is paired
    cell, greedy search   CIDEr-D                BLEU-1   BLEU-4   against both
    both                  0.280 [0.133, 0.580]   0.372    0.094
      image alone         0.280 [0.132, 0.585]   0.370    0.094
      voice alone         0.079 [0.030, 0.206]   0.304    0.011
    wrong_image           0.102 [0.040, 0.257]   0.311    0.010    worse: -0.178 [-0.304, -0.052]
    wrong_audio           0.283 [0.138, 0.573]   0.371    0.089    inconclusive: +0.004 [-0.028, 0.035]
    nearest image         0.426 [0.255, 0.705]   0.439    0.131
    nearest audio         0.502 [0.302, 0.824]   0.425    0.118
    most common           0.008 [0.006, 0.010]   0.262    0.000
Conclusion: the model looks at the image and is not shown to listen: another image costs 0.178, another voice nothing (0.044
could have been detected). It is worse than the name of the nearest training image by 0.146 [0.042, 0.250] and of the nearest
voice by 0.222 [0.068, 0.376]: after two epochs, a pretrained language model does not replace copying a name. No name was right
as a whole. The cells `image`, `audio`, `connectors` and `staged` were not run. One seed, so nothing is claimed about others.
"""

from dataclasses import replace

from stamps_captions import FEATURES, GREEDY

from mmjax.data.augment import DropModalities
from mmjax.data.text_target import TextTarget
from mmjax.decoders import Factored, Interleaved, smollm2_135m
from mmjax.encoders import Features, LoRA
from mmjax.experiment import Experiment, main
from mmjax.fusion import MLPConnector
from mmjax.losses import CrossEntropy, On
from mmjax.pretrained.cached_features import PUBLISHED
from mmjax.pretrained.language_text import LanguageText
from mmjax.robust.wrong_pairs import WrongPairs
from mmjax.tasks.search import Greedy
from mmjax.train.optim import AdamW
from mmjax.train.stages import Stage

SMOL = "smollm2-135m-instruct"
MODEL = smollm2_135m()
VOICE, IMAGE = MODEL.vocabulary, MODEL.vocabulary + 1  # the vectors of the connector, in the order of their names
# "<|im_start|>user\n", the vectors, "What is it?<|im_end|>\n<|im_start|>assistant\n"
PROMPT = (1, 4093, 198, IMAGE, VOICE, 1780, 314, 357, 47, 2, 198, 1, 520, 9531, 198)

BASE = Experiment(
    data=TextTarget(replace(FEATURES, weights=PUBLISHED, tokens=()), target_tokenizer=LanguageText(SMOL), target_tokens=10),
    encoders={name: Features(width=None) for name in ("image", "audio")},
    fusion=MLPConnector(MODEL.width, hidden=(MODEL.width,)),
    decoders={"caption": LoRA(Factored(Interleaved(MODEL, PROMPT)), rank=8)},
    weights={"decoders_caption/base": SMOL},
    stages=(Stage(learns=("fusion", "decoders_caption/lora")),),
    loss=On("caption", CrossEntropy()),
    tasks={"caption": replace(GREEDY, search=Greedy(10))},
    groups=("language",),
    steps=200,
    batch=16,
    evaluate_every=100,
    optim=AdamW(lr=1e-3, decay=0.0),
    augment={"modalities": DropModalities(0.2)},
)


def of(modality: str) -> Experiment:
    return replace(BASE, encoders={modality: BASE.encoders[modality]}, augment={})


ABLATIONS = {
    "both": BASE,
    "image": of("image"),
    "audio": of("audio"),
    "connectors": replace(BASE, stages=(Stage(learns=("fusion",)),)),
    "staged": replace(BASE, stages=(Stage(learns=("fusion",)), *BASE.stages)),
    "wrong_image": replace(BASE, attack=WrongPairs(("image",))),
    "wrong_audio": replace(BASE, attack=WrongPairs(("audio",))),
}

if __name__ == "__main__":
    main(ABLATIONS)
