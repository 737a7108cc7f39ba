"""Summaries of videos: what an animated figure does, from its frames, from a text about it, or from both.

A model writes a sentence such as "an elf attacks with its bow" for an animation of a unit of the game Wesnoth, from up to six
frames, from the unit's description (about 80 words), or from both. The description tells who the unit is, but not what it does
in this animation; the frames show both. Test units belong to lines of promotion that training has not seen. A small CNN on
each frame and a GRU over time, a Transformer over the words, and `JoinTokens` make one memory for a cross-attention decoder.
`key1`, `key2` and `key3` keep only this number of frames, chosen by learned attention (`KeyTokens`); `first` has the first frame
of each animation alone, and `even3` three evenly spaced frames. `missing50` and `missing75` are the trained model `both` on
videos without half or three quarters of their frames; `wrong_video` and `wrong_text` have those of another test example.

Run: python experiments/video_summary.py --seeds 10 --against both
Time: @TIME@
Expected: @TABLE@
"""

from dataclasses import replace

from mmjax.data.augment import DropModalities, DropSteps
from mmjax.data.text import Words
from mmjax.data.text_target import TextTarget
from mmjax.data.wesnoth.clips import UnitClips
from mmjax.decoders import Decoder
from mmjax.encoders import CNN, FrameWise, KeyTokens, TextTransformer
from mmjax.experiment import Experiment, main
from mmjax.fusion import JoinTokens
from mmjax.losses import CrossEntropy, On
from mmjax.nn import GRU
from mmjax.robust.corrupt import Corrupt
from mmjax.robust.wrong_pairs import WrongPairs
from mmjax.tasks import Generate
from mmjax.tasks.search import Greedy
from mmjax.train.optim import AdamW

WIDTH, VOCABULARY = 64, 192


def videos(frames: int) -> TextTarget:
    """Summaries of animations of at most this number of frames."""
    clips = UnitClips(frames=frames, size=32, max_tokens=64)
    return TextTarget(clips, column="summary", target="summary", target_tokenizer=Words(VOCABULARY), target_tokens=10)


VIDEO = FrameWise(CNN(widths=(12, 24, 48), dropout=0.1), GRU(WIDTH))
TEXT = TextTransformer(vocabulary=1000, width=WIDTH, depth=1, heads=4, hidden=128, positions=64, dropout=0.2)

BASE = Experiment(
    data=videos(6),
    encoders={"video": VIDEO, "text": TEXT},
    fusion=JoinTokens(width=WIDTH, dropout=0.1),
    decoders={"summary": Decoder(VOCABULARY, width=WIDTH, depth=1, heads=4, hidden=128, positions=12, dropout=0.2)},
    loss=On("summary", CrossEntropy(smoothing=0.1)),
    tasks={"summary": Generate("summary", search=Greedy(10), scores=("cider_d", "bleu4", "rouge_l", "exact_match"))},
    select="summary.bleu4",
    groups=("deed",),
    steps=400,
    evaluate_every=50,
    optim=AdamW(lr=2e-3, decay=0.05),
    augment={"frames": DropSteps(0.2, "video"), "modalities": DropModalities(0.2)},
)


def with_video(encoder) -> Experiment:
    return replace(BASE, encoders={**BASE.encoders, "video": encoder})


def of(modality: str) -> Experiment:
    augment = {"frames": BASE.augment["frames"]} if modality == "video" else {}
    return replace(BASE, encoders={modality: BASE.encoders[modality]}, augment=augment)


ABLATIONS = {
    "both": BASE,
    "video": of("video"),
    "text": of("text"),
    "key1": with_video(KeyTokens(VIDEO, keep=1)),
    "key2": with_video(KeyTokens(VIDEO, keep=2)),
    "key3": with_video(KeyTokens(VIDEO, keep=3)),
    "even3": replace(BASE, data=videos(3)),
    "first": replace(BASE, data=videos(1)),
    "missing50": replace(BASE, attack=Corrupt(DropSteps(0.5, "video"))),
    "missing75": replace(BASE, attack=Corrupt(DropSteps(0.75, "video"))),
    "wrong_video": replace(BASE, attack=WrongPairs(("video",))),
    "wrong_text": replace(BASE, attack=WrongPairs(("text",))),
}

if __name__ == "__main__":
    main(ABLATIONS)
