"""Near-duplicates of one modality, with a threshold tuned on planted copies, and the leak-free groups that follow."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmjax.data.build.audio_match import RATE, audio_duplicates, audio_pairs, spectrogram
from mmjax.data.build.image_match import image_duplicates, image_pairs, look
from mmjax.data.build.items import Item, Part, column, modalities, parts_of, sha256
from mmjax.data.build.nearest import Pairs
from mmjax.data.build.planted import planted_images, planted_sounds, planted_texts
from mmjax.data.build.text_match import normalized, shingled, text_duplicates, text_pairs
from mmjax.data.build.tune import Tuned, tune
from mmjax.data.decode import decode_audio, decode_image
from mmjax.data.groups import connected_groups, pairs_sharing_a_key

__all__ = [
    "COPIES", "LOW_RECALL", "MATCHERS", "Duplicates", "Matcher", "agreement_of_groups", "find_duplicates", "leak_free_groups",
    "recall_warnings",
]  # fmt: skip

COPIES = 200  # planted copies of each kind
LOW_RECALL = 0.5  # of a kind of planted copy; a warning below it


class Matcher(NamedTuple):
    """How items of one kind are compared. decode: Part -> raw item. key: Part -> equal for items that are surely duplicates.
    plant: (raw, generator) -> {kind: altered raw}. describe: raw -> descriptor. pairs: (queries, keys) -> `Pairs`. among:
    (descriptors, threshold, known groups) -> `Pairs` with i < j."""

    decode: Callable[[Part], Any]
    key: Callable[[Part], str]
    plant: Callable[[Any, np.random.Generator], dict[str, Any]]
    describe: Callable[[Any], Any]
    pairs: Callable[[Sequence, Sequence], Pairs]
    among: Callable[[Sequence, float, np.ndarray], Pairs]


def _bytes_key(part: Part) -> str:
    return sha256(part.read())


def _wave(part: Part) -> np.ndarray:
    return decode_audio(part.read(), part.name, RATE)


MATCHERS = {
    "image": Matcher(
        lambda part: decode_image(part.read(), part.name), _bytes_key, planted_images, look, image_pairs, image_duplicates
    ),
    "audio": Matcher(_wave, _bytes_key, planted_sounds, spectrogram, audio_pairs, audio_duplicates),
    "text": Matcher(
        lambda part: part.text(), lambda part: normalized(part.text()), planted_texts, shingled, text_pairs, text_duplicates
    ),
}


class Duplicates(NamedTuple):
    """near: Int64[p 2], pairs of items (i < j) whose parts of this modality are equal or near-duplicates. equal: how many parts
    equal an earlier one. tuned: the threshold and what planted copies say of it. features: the name of the weights that the
    search used, "" for none."""

    modality: str
    kind: str
    near: np.ndarray
    equal: int
    tuned: Tuned
    features: str = ""

    @property
    def name(self) -> str:
        """Of the search, for reports."""
        return f"{self.modality}, {self.features}" if self.features else self.modality


def find_duplicates(
    items: Sequence[Item],
    modality: str,
    seed: int = 0,
    copies: int = COPIES,
    known: np.ndarray | None = None,
    progress: Callable[[Sequence], Any] = iter,
    matcher: Matcher | None = None,
    features: str = "",
) -> Duplicates:
    """Searches one modality.

    seed: of the planted copies. copies: of each kind, at most one per item. known: Int64[items], equal for items that are known
    to belong together; None: equal parts do. matcher: of this kind; None: that of MATCHERS. features: a name for the report.
    """
    kind = modalities(items)[modality]
    matcher = matcher or MATCHERS[kind]
    rows, parts = parts_of(items, modality)
    keys = [matcher.key(part) for part in parts]
    equal = pairs_sharing_a_key([[key] for key in keys])
    first = sorted({key: at for at, key in reversed(list(enumerate(keys)))}.values())  # one part for each key
    chosen = set(np.random.default_rng(seed).permutation(len(first))[:copies].tolist())
    described, planted, original, kinds = [], [], [], []
    for number, at in enumerate(progress(first)):
        raw = matcher.decode(parts[at])
        described.append(matcher.describe(raw))
        if number in chosen:
            for name, copy in matcher.plant(raw, np.random.default_rng([seed, number])).items():
                planted.append(matcher.describe(copy))
                original.append(number)
                kinds.append(name)
    same = np.arange(len(first)) if known is None else np.asarray(known)[[rows[at] for at in first]]
    tuned = tune(matcher.pairs(planted, described), np.array(original, np.int64), kinds, same)
    near = [(first[i], first[j]) for i, j in matcher.among(described, tuned.threshold, same).above(tuned.threshold).tolist()]
    pairs = np.array([(rows[i], rows[j]) for i, j in [*equal, *near]], np.int64).reshape(-1, 2)
    return Duplicates(modality, kind, np.unique(np.sort(pairs, axis=1), axis=0), len(equal), tuned, features)


def recall_warnings(found: Sequence[Duplicates]) -> list[str]:
    """One sentence for each modality and kind of planted copy of which no search found half."""
    best: dict[tuple[str, str], float] = {}
    for one in found:
        for kind, share in one.tuned.recall.items():
            best[one.modality, kind] = max(share, best.get((one.modality, kind), 0.0))
    return [
        f"Near-duplicates may leak: of planted copies of {modality} that were {kind}, the search found {share:.0%}."
        for (modality, kind), share in best.items()
        if share < LOW_RECALL
    ]


def leak_free_groups(items: Sequence[Item], found: Sequence[Duplicates], together: Sequence[str] = ()) -> np.ndarray:
    """Int64[n]: items that are joined by a chain of near-duplicates of any modality, or by equal values of a column.

    together: columns whose equal values make items dependent, such as a speaker or source; an empty value joins nothing.
    """
    values = [column(items, name) for name in together]
    keys = [[(name, own) for name, own in zip(together, row) if own] for row in zip(*values)] or [[]] * len(items)
    pairs = [tuple(pair) for one in found for pair in one.near.tolist()]
    return connected_groups(len(items), pairs + pairs_sharing_a_key(keys))


def agreement_of_groups(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """How well groups a agree with groups b, Int64[n] each.

    precision, recall: the share of pairs joined by a that b joins, and the reverse. adjusted_rand: Hubert and Arabie (1985); 1
    for equal partitions, 0 for random ones.
    """
    def pairs_within(groups: Sequence) -> int:
        return sum(count * (count - 1) // 2 for count in Counter(groups).values())

    both = pairs_within(list(zip(a.tolist(), b.tolist())))
    in_a, in_b = pairs_within(a.tolist()), pairs_within(b.tolist())
    expected = in_a * in_b / max(1, len(a) * (len(a) - 1) // 2)
    mean = (in_a + in_b) / 2
    rand = (both - expected) / (mean - expected) if mean > expected else 1.0
    return {"precision": both / in_a if in_a else 1.0, "recall": both / in_b if in_b else 1.0, "adjusted_rand": rand}
