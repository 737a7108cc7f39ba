"""Text metrics against sacrebleu, jiwer, rouge-score, NLTK, pycocoevalcap and a definition on 1,000 cases with up to five
references."""

import math
import random
from collections import Counter
from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.metrics import bleu, cider, edits, meteor, rouge
from mmjax.metrics.porter import stem
from mmjax.metrics.ter import translation_edits
from mmjax.metrics.text import TEXT_METRICS
from mmjax.metrics.text_english import whisper_english
from mmjax.metrics.text_normal import caption_words, lower_without_punctuation, whisper_basic, words_13a, words_intl

pytestmark = pytest.mark.parity
CASES = 1000
WORDS = """a an the The man's dog dogs Dog's running ran runs happily quickly flies on of in with and beach, grass. "red"
3,5 10-20 don't isn't well-known U.S. & ( ) ! $5 12.5 [x] é naïve Straße kůň “tak” žluťoučký… 日本 ponies
relational nationally 🐎 <b> U.S.A., 'twas it's 5% C++ a/b &amp; &quot; ... -- 1980s""".split()


def changed(text, rng):
    """A text with up to four words deleted, added, replaced or moved, and sometimes a moved half."""
    words = text.split()
    for _ in range(rng.randint(0, 4)):
        at = rng.randint(0, len(words))
        kind = rng.choice("daerm")
        if kind == "a":
            words.insert(at, rng.choice(WORDS))
        elif kind == "m":
            words = words[at:] + words[:at]
        elif words:
            word = words.pop(rng.randrange(len(words)))
            words[at:at] = {"d": [], "e": [word], "r": [rng.choice(WORDS)]}[kind]
    return " ".join(words)


@pytest.fixture(scope="module")
def texts():
    """(hypotheses, references): near a reference, far from it, long, or empty."""
    rng = random.Random(0)
    sentence = lambda low, high: " ".join(rng.choice(WORDS) for _ in range(rng.randint(low, high)))
    references = [[sentence(1, 40 if unit % 20 == 0 else 14) for _ in range(rng.randint(1, 5))] for unit in range(CASES)]
    hypotheses = [sentence(0, 12) if unit % 7 == 0 else changed(rng.choice(references[unit]), rng) for unit in range(CASES)]
    hypotheses[0], hypotheses[1], references[2] = "", "   ", ["", "a dog"]
    return hypotheses, references


@pytest.fixture(scope="module")
def captions(texts):
    """The texts as words in lower case, separated by spaces."""
    tokenised = lambda text: " ".join(caption_words(text)) or "a"
    return [tokenised(text) for text in texts[0]], [[tokenised(text) for text in of_unit] for of_unit in texts[1]]


def corpus(metric, outcomes):
    return float(metric.metric.value(outcomes, jnp.ones(CASES)))


def by_column(references):
    """References as sacrebleu expects them: one list per reference, padded by None."""
    return [[of_unit[k] if k < len(of_unit) else None for of_unit in references] for k in range(5)]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize(("tokenizer", "words"), [("13a", words_13a), ("intl", words_intl), ("none", str.split)])
def test_bleu(texts, order, tokenizer, words):
    from sacrebleu.metrics import BLEU

    expected = BLEU(max_ngram_order=order, tokenize=tokenizer).corpus_score(texts[0], by_column(texts[1]))
    found = bleu.bleu_statistics(*texts, words)
    assert found["bleu_matches"][:, :order].sum(axis=0).tolist() == expected.counts
    assert found["bleu_ngrams"][:, :order].sum(axis=0).tolist() == expected.totals
    assert (found["bleu_words"].sum(), found["bleu_reference_words"].sum()) == (expected.sys_len, expected.ref_len)
    np.testing.assert_allclose(100 * corpus(TEXT_METRICS[f"bleu{order}"], found), expected.score, rtol=1e-6)


@pytest.mark.parametrize("units", [1, 3, 10])
def test_smoothed_bleu_of_few_texts(texts, units):
    """In which some precisions are 0."""
    from sacrebleu.metrics import BLEU

    for start in range(0, 40 * units, units):
        part = slice(start, start + units)
        expected = BLEU().corpus_score(texts[0][part], by_column(texts[1][part]))
        outcomes = bleu.bleu_statistics(texts[0][part], texts[1][part])
        value = TEXT_METRICS["bleu4"].metric.value(outcomes, jnp.ones(units))
        np.testing.assert_allclose(100 * value, expected.score, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "words"), [("chrf", 0), ("chrf++", 2)])
def test_chrf(texts, name, words):
    from sacrebleu.metrics import CHRF

    official = CHRF(word_order=words)
    found = TEXT_METRICS[name].statistics(*texts)
    statistics = np.array(official._extract_corpus_statistics(texts[0], by_column(texts[1])))
    np.testing.assert_array_equal(found[name].reshape(CASES, -1), statistics)
    expected = official._aggregate_and_compute(statistics.tolist()).score
    np.testing.assert_allclose(100 * corpus(TEXT_METRICS[name], found), expected, rtol=1e-6)


def test_ter(texts):
    from sacrebleu.metrics import TER

    found = TEXT_METRICS["ter"].statistics(*texts)
    official = TER()
    expected = np.array(official._extract_corpus_statistics(texts[0], by_column(texts[1])))
    np.testing.assert_array_equal(np.stack([found["ter_edits"], found["ter_words"]], axis=1), expected)
    score = official._aggregate_and_compute(expected.tolist()).score
    np.testing.assert_allclose(100 * corpus(TEXT_METRICS["ter"], found), score, rtol=1e-6)


@pytest.mark.parametrize("kinds", [2, 8, 60])
def test_translation_edits_of_long_texts(kinds):
    """Many moves, few kinds of words, large distances, and lengths beyond the band."""
    from sacrebleu.metrics.lib_ter import translation_edit_rate

    rng = random.Random(kinds)
    for case in range(40):
        reference = [str(rng.randrange(kinds)) for _ in range(rng.choice([1, 5, 12, 26, 30 if kinds == 2 else 70]))]
        at, end = sorted(rng.randint(0, len(reference)) for _ in range(2))
        moved = reference[:at] + reference[end:] + reference[at:end]
        hypothesis = [word if rng.random() < 0.85 else "x" for word in moved][: rng.choice([3, 100, 100])]
        if case % 5 == 0:
            hypothesis = [str(rng.randrange(kinds)) for _ in range(rng.choice([1, 8, 25]))]
        assert translation_edits(hypothesis, reference) == translation_edit_rate(hypothesis, reference)[0]


def test_wer_and_cer(texts):
    """Substitutions, deletions and insertions, and both rates. jiwer compares with one reference."""
    import jiwer

    hypotheses, references = texts[0], [of_unit[-1] for of_unit in texts[1]]
    for name, process, length in (("wer", jiwer.process_words, "words"), ("cer", jiwer.process_characters, "characters")):
        found = TEXT_METRICS[name].statistics(hypotheses, [[text] for text in references])
        errors = found["word_errors" if name == "wer" else "character_errors"]
        for unit, (hypothesis, reference) in enumerate(zip(hypotheses, references)):
            expected = process(reference, hypothesis)
            assert errors[unit].tolist() == [expected.substitutions, expected.deletions, expected.insertions]
        total = process(references, hypotheses)
        assert found[length].sum() == total.hits + total.substitutions + total.deletions
        np.testing.assert_allclose(corpus(TEXT_METRICS[name], found), getattr(total, name), rtol=1e-6)


def test_edits_of_long_texts():
    import jiwer

    rng = random.Random(0)
    for length in (70, 500):
        reference = [str(rng.randrange(40)) for _ in range(length)]
        repeated = [word for word in reference for _ in range(rng.choice([0, 1, 1, 2]))]
        hypothesis = [word if rng.random() < 0.6 else str(rng.randrange(40)) for word in repeated]
        expected = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
        assert edits.edits(reference, hypothesis) == (expected.substitutions, expected.deletions, expected.insertions)


def test_normalizers(texts):
    import jiwer
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer

    lower = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip()])
    for text in [*texts[0], "[Music] (laughs) Ahoj <i>, kůň", "“Tak…” 5 €  a"]:
        assert lower_without_punctuation(text) == lower(text)
        assert whisper_basic(text) == BasicTextNormalizer()(text).strip()


def test_whisper_english():
    """1,000 texts of number words, contractions, money and other words; also with a table of spellings."""
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    numbers = "zero oh one two five six nine ten eleven nineteen twenty thirty ninety hundred thousand million ones twenties"
    numbers += " sixes first second fifth tenth twelfth thirtieth hundredth millions and double triple point minus plus dollars"
    numbers += " cents per cent percent half a 1 7 12 100 3.5 2,000 $5 £0.07 5% 1960s 3rd 2nd ¢7 $20 -4 and a half"
    others = "Mr. Dr don't won't it's he'd been we've y'all gonna uh Café (laughs) [noise] colour, House; ß <i> jr. 'em $x 7a"
    rng, spellings = random.Random(0), {"colour": "color", "house": "home"}
    for table in ({}, spellings):
        original = EnglishTextNormalizer(table)
        for _ in range(500):
            words = rng.choices([*numbers.split(), "and a half"], k=rng.randrange(9)) + rng.choices(others.split(), k=3)
            if rng.random() < 0.4:
                rng.shuffle(words)
            text = " ".join(words)
            assert whisper_english(text, table) == original(text).strip(), text


@pytest.mark.parametrize(("name", "stemmer"), [("rouge_l", False), ("rouge_l_stem", True)])
def test_rouge_l(texts, name, stemmer):
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=stemmer)
    expected = [scorer.score_multi(of_unit, text)["rougeL"].fmeasure for text, of_unit in zip(*texts)]
    np.testing.assert_allclose(TEXT_METRICS[name].statistics(*texts)[name], expected, rtol=1e-12)


def test_rouge_l_coco(captions):
    from pycocoevalcap.rouge.rouge import Rouge

    expected = [Rouge().calc_score([text], of_unit) for text, of_unit in zip(*captions)]
    found = rouge.rouge_l_coco_statistics(*captions, words=str.split)["rouge_l_coco"]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_meteor(texts):
    """NLTK's definition; a stand-in for WordNet knows no synonym."""
    from nltk.translate.meteor_score import meteor_score

    class NoSynonyms:
        def synsets(self, word):
            return []

    expected = [
        meteor_score([reference.split() for reference in of_unit], text.split(), wordnet=NoSynonyms())
        for text, of_unit in zip(*texts)
    ]
    found = meteor.meteor_statistics(*texts, words=str.split)["meteor_exact_stem"]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_stems():
    """Real words, and random ones with every suffix of a rule."""
    from nltk.stem.porter import PorterStemmer

    rng = random.Random(0)
    suffixes = """ies ied eed ed ing s ss sses at bl iz ational tional enci anci izer bli alli entli eli ousli ization
    ation ator alism iveness fulness ousness aliti iviti biliti fulli logi icate ative alize iciti
    ical ful ness al ance ence er ic able ible ant ement ment ent ion ou ism ate iti ous ive ize e
    ll y yy""".split()
    words = {"".join(rng.choices("aeiouybcdlstwx", k=rng.randint(0, 6))) + rng.choice(suffixes) for _ in range(20_000)}
    official = PorterStemmer()
    for word in (words - {""}) | {w.strip(",.\"“”…") for w in WORDS} | set("sky skies dying news innings proceed".split()):
        assert stem(word) == official.stem(word), word


def test_cider_d(captions):
    """pycocoevalcap's CIDEr is CIDEr-D. The default splitter leaves tokenised captions as they are."""
    from pycocoevalcap.cider.cider import Cider

    mean, expected = Cider().compute_score(dict(enumerate(captions[1])), {k: [text] for k, text in enumerate(captions[0])})
    for options in ({}, {"words": str.split}):
        found = cider.cider_d_statistics(*captions, **options)
        np.testing.assert_allclose(found["cider_d"], expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(corpus(TEXT_METRICS["cider_d"], found), mean, rtol=1e-6)
    assert mean > 1


def cider_of_its_paper(candidates, references):
    """The scores of units, by equations 1 to 3 of Vedantam et al. (2015). candidates: lists of stems; references: of each unit,
    a list of such lists.

    An n-gram that no reference contains counts as contained in one unit, as in the authors' code.
    """

    def counted(words, n):
        return Counter(tuple(words[k : k + n]) for k in range(len(words) - n + 1))

    def g(words, n):
        """{n-gram k: g_k}, equation 1: the term frequency times the logarithm of |I| / units whose references contain k."""
        counts = counted(words, n)
        return {k: h / sum(counts.values()) * math.log(len(references) / max(1, containing[n][k])) for k, h in counts.items()}

    def cosine(a, b):
        lengths = math.hypot(*a.values()) * math.hypot(*b.values())
        return sum(x * b.get(k, 0.0) for k, x in a.items()) / lengths if lengths else 0.0

    containing = {n: Counter() for n in (1, 2, 3, 4)}
    for of_unit in references:
        for n, units in containing.items():
            units.update(set().union(*(counted(words, n) for words in of_unit)))

    def cider_n(n, candidate, of_unit):
        """Equation 2."""
        own = g(candidate, n)
        return sum(cosine(own, g(words, n)) for words in of_unit) / len(of_unit)

    return [sum(cider_n(n, *unit) for n in containing) / 4 for unit in zip(candidates, references)]


def test_cider(captions):
    """pycocoevalcap has no plain CIDEr; NLTK stems the words of the definition in Python."""
    from nltk.stem.porter import PorterStemmer

    stems = lambda text: [of_word(word) for word in text.split()]
    of_word = cache(PorterStemmer().stem)
    expected = cider_of_its_paper(
        [stems(text) for text in captions[0]], [[stems(text) for text in of_unit] for of_unit in captions[1]]
    )
    found = cider.cider_statistics(*captions, words=str.split)["cider"]
    np.testing.assert_allclose(found, 10 * np.array(expected), rtol=0, atol=1e-9)
    assert found.mean() > 1 and not np.allclose(found, cider.cider_d_statistics(*captions, words=str.split)["cider_d"])
