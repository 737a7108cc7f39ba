"""A small language model from scratch on 63 kB of text: does it beat an n-gram model, and what is a pretrained one worth?

English descriptions of Wesnoth's units (`Wesnoth`, GPL-2) of at most 800 characters; the test texts belong to lines of units
that training has not seen. `scratch` is a Transformer with 0.36 million parameters over 512 byte-level tokens, with several
documents in a training row. "unigram" and "ngram" (interpolated Kneser-Ney, order 4) have the same tokens and the same training
texts. `published` is SmolLM2-135M-Instruct as it is, `lora` learns low-rank additions (rank 8) to its queries and values. All
of them score the same whole texts, so bits per byte compare them although their tokens differ.

Run: python experiments/small_language_model.py scratch --seeds 3
     python experiments/small_language_model.py published lora --seeds 3
Time: 4 CPU minutes and 1.4 GB for the first, about 20 and 7.5 GB for the second; fetches 146 MB of data and
93 MB of weights once
Expected: 51 test texts (21 kB) of 19 groups (fold 0), mean of 3 seeds [95 % interval over groups and seeds]; lower is better
                 bits per byte          perplexity per token of its own
    scratch      2.59 [2.52, 2.67]      57.8
    ngram        2.11 [2.05, 2.18]      27.1
    unigram      3.35 [3.29, 3.42]      189
    published    1.25 [1.17, 1.33]      56.7
    lora         1.14 [1.08, 1.21]      40.4
    ngram        1.96 [1.91, 2.02]      574     (SmolLM2's tokens)
Conclusion: no. The n-gram model is better by 0.48 [0.42, 0.55] (paired; a difference of 0.09 could have been detected). With
149 training texts the Transformer overfits: its validation score is best after 200 of 600 steps (2.64), and 3.19 at the end,
where the training loss still falls. A smaller learning rate (2e-3, dropout 0.2, 300 steps) gave 2.72. The published model
needs 36 % fewer bits than an n-gram model of its own tokens; the web texts that it has read may contain the descriptions. 24
steps of LoRA on the same training texts save another 0.105 [0.082, 0.127] bits (paired, three seeds, which differ by 0.0015 at
most). The perplexity per token of `published` is that of `scratch`, which shows that perplexities of different tokens cannot be
compared.
"""

from dataclasses import dataclass, replace

import optax

from mmjax.data.byte_level import ByteLevel
from mmjax.data.documents import Documents, PackedDocuments
from mmjax.data.wesnoth.dataset import Wesnoth
from mmjax.decoders import Factored, LanguageModel, PackedDecoder, smollm2_135m
from mmjax.encoders import LoRA, NoTokens
from mmjax.experiment import Experiment, main
from mmjax.fusion import Append
from mmjax.losses import CrossEntropy, On
from mmjax.pretrained.language_text import LanguageText
from mmjax.tasks import Likelihood
from mmjax.train.optim import AdamW
from mmjax.train.stages import Stage

VOCABULARY, TOKENS, CHARACTERS = 512, 384, 800
TEXTS = Documents(
    Wesnoth(languages=("en",), image_size=16, frames=1),
    column="english",
    document_tokenizer=ByteLevel(VOCABULARY),
    window_tokens=TOKENS,
    max_characters=CHARACTERS,
)
SMOL = "smollm2-135m-instruct"


@dataclass(frozen=True)
class NoTraining:
    """An optimiser whose updates are zero: the published model is scored as it is."""

    def __call__(self, steps: int) -> optax.GradientTransformation:
        return optax.set_to_zero()


BASE = Experiment(
    data=PackedDocuments(TEXTS, row_tokens=TOKENS),
    encoders={"text": NoTokens()},
    fusion=Append(),
    decoders={
        "text": PackedDecoder(
            LanguageModel(VOCABULARY, width=128, depth=2, heads=4, kv_heads=2, hidden=256, positions=TOKENS, dropout=0.1)
        )
    },
    loss=On("text", CrossEntropy()),
    tasks={"text": Likelihood("text", order=4)},
    steps=600,
    batch=4,
    evaluate_every=100,
    optim=AdamW(lr=5e-3, decay=0.1),
)
SHORT = 256  # tokens of SmolLM2 in a row
LORA = replace(
    BASE,
    data=PackedDocuments(replace(TEXTS, document_tokenizer=LanguageText(SMOL), window_tokens=SHORT), row_tokens=SHORT),
    decoders={"text": LoRA(Factored(PackedDecoder(smollm2_135m()), chunk=64), rank=8)},
    weights={"decoders_text/base": SMOL},
    stages=(Stage(learns=("decoders_text/lora",)),),
    steps=24,
    batch=4,
    evaluate_every=24,
    optim=AdamW(lr=1e-3, decay=0.0),
)
ABLATIONS = {"scratch": BASE}
BY_NAME = {"published": replace(LORA, optim=NoTraining(), steps=1, evaluate_every=1), "lora": LORA}

if __name__ == "__main__":
    main(ABLATIONS, by_name=BY_NAME)
