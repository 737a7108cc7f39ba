"""Translation of long texts: the description of a unit of a game, about 80 words, with its sprite.

A model writes the English description of a unit of Wesnoth, up to 192 subwords, from its German, Spanish, French or Italian
one, from the sprite, or from both; the units of the test split belong to lines of advancement that training has not seen. The
164 units in training cannot teach a language from scratch: the question is how generation handles long texts, not how good they
are. The scores are also given by length. `no_repeat` forbids to write the same four subwords twice, against the loops of greedy
search. `wrong_image` gives `both` the sprite of the row 61 rows on.

Run: python experiments/wesnoth_translation.py --seeds 3 --against text
Time: 6 CPU minutes and 3.3 GB; fetches 146 MB once
Expected: 224 test descriptions of 56 units in 19 unseen groups (fold 0), mean of 3 seeds [95 % interval over groups and seeds]
                   greedy search               no_repeat
    cell           chrF                  BLEU-1  chrF                  BLEU-1
    both           0.088 [0.030, 0.233]  0.054   0.102 [0.021, 0.377]  0.068
    text           0.073 [0.014, 0.310]  0.045   0.087 [0.016, 0.363]  0.042
    wrong_image    0.088 [0.030, 0.233]  0.055   0.102 [0.021, 0.375]  0.068
    nearest text   0.313 [0.296, 0.330]  0.291
    nearest image  0.253 [0.211, 0.300]  0.244
    most common    0.106 [0.084, 0.132]  0.023
    `both` by length of the English text, greedy and no_repeat: up to 60 words .092 and .124, 61 to 90 .090 and .108, over 90
    .085 and .089; 128 of 1,108 English and 351 source texts are truncated to 192 subwords
Conclusion: nothing is translated. 200 steps, five passes over 164 units, teach the most frequent words and no more (training
loss 6.0): no model is shown to beat the most common description, the English of the training unit with the nearest text or
sprite is far better, and nothing can be said about the sprite (a difference of 0.15 between `both` and `text` could have been
detected). What stands is that long texts pass through: a batch of them is decoded as each is alone, which
tests/decoders/test_long_texts.py shows, and truncated texts are counted. More steps have not been tried.
"""

from dataclasses import replace

from mmjax.data.augment import DropModalities
from mmjax.data.text import Subwords
from mmjax.data.text_target import TextTarget
from mmjax.data.wesnoth.dataset import Wesnoth
from mmjax.decoders import Decoder
from mmjax.encoders import CNN, TextTransformer
from mmjax.experiment import Experiment, main
from mmjax.fusion import JoinTokens
from mmjax.losses import CrossEntropy, On
from mmjax.nn.rules import NoRepeat
from mmjax.robust.wrong_pairs import WrongPairs
from mmjax.tasks import Generate
from mmjax.tasks.search import Greedy
from mmjax.train.optim import AdamW

WIDTH, VOCABULARY, TOKENS = 96, 2000, 192
UNITS = Wesnoth(image_size=32, frames=1, tokenizer=Subwords(VOCABULARY), max_tokens=TOKENS)
GREEDY = Generate("english", search=Greedy(TOKENS), scores=("chrf", "bleu4", "bleu1"), nearest=("text", "image"))

BASE = Experiment(
    data=TextTarget(UNITS, column="english", target="english", target_tokenizer=Subwords(VOCABULARY), target_tokens=TOKENS),
    encoders={
        "text": TextTransformer(VOCABULARY, WIDTH, depth=1, heads=4, hidden=192, positions=TOKENS, causal=False, dropout=0.2),
        "image": CNN(widths=(16, 32, 64), dropout=0.1),
    },
    fusion=JoinTokens(width=WIDTH, dropout=0.1),
    decoders={"english": Decoder(VOCABULARY, WIDTH, depth=1, heads=4, hidden=192, positions=TOKENS + 1, dropout=0.2)},
    loss=On("english", CrossEntropy(smoothing=0.1)),
    tasks={"greedy": GREEDY, "no_repeat": replace(GREEDY, search=Greedy(TOKENS, NoRepeat(4)))},
    select="loss",
    groups=("language", "length"),
    steps=200,
    batch=16,
    evaluate_every=100,
    optim=AdamW(lr=3e-3, decay=0.05),
    augment={"modalities": DropModalities(0.2)},
)

ABLATIONS = {
    "both": BASE,
    "text": replace(BASE, encoders={"text": BASE.encoders["text"]}, augment={}),
    "wrong_image": replace(BASE, attack=WrongPairs(("image",), shift=61)),
}

if __name__ == "__main__":
    main(ABLATIONS)
