"""Scores of 500 answers each equal those that VLMEvalKit computed.

Its code is no package here. What it gave for these answers was written down once, with its functions `process_line` (methods
vqa_score, accuracy, relaxed_accuracy, anls), `hit_calculate`, `YOrN_Extraction`, `POPE_rating` and `can_infer` of commit
e8e78f05. One character is one answer: of 62 for a score, or a word or letter.
"""

import random
import string

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.metrics.answers import anls, relaxed_match
from mmjax.metrics.answers_vlmevalkit import (
    VLMEVALKIT_METRICS,
    equals_reference,
    option_letter,
    textvqa_score,
    yes_or_no,
)
from mmjax.metrics.text import text_outcomes

COUNT, DIGITS = 500, string.digits + string.ascii_letters
WORDS = "a an the red Red, frog don't dont wouldnt've it's its 1,000 1000 10.5 2 two none / and/or left-hand (yes) no. ? 3. x.y"
OPTIONS = ["a green frog", "two red cars", "some bananas", "A"]
CHOICES = ["A", "B", "(C)", "B.", "b", "The answer is (B)", "It is D", "two red cars", "frog", "A. or B.", "C: some bananas"]
CHOICES += ["answer is **c**", "Answer is apple", "Z", "I can see a green frog and", "A B C", "not A, but B !", "or", "the sky"]
SAID = ["yes", "no", "Yes", "No", "Yes.", "Yes, it is", "not sure", "There is no car.", "no/yes", "noyes", "(no)", "", "yes-no"]


def texts(seed, longest=2, words=tuple(WORDS.split())):
    chosen = random.Random(seed)
    return [" ".join(chosen.choices(words, k=chosen.randint(0, longest))) for _ in range(COUNT)]


def numbers(seed):
    chosen = random.Random(seed)
    return [chosen.choice(["{:.2f}", "{:.0f}", "{:.1f}%", "{:g} km"]).format(chosen.gauss(5, 2)) for _ in range(COUNT)]


def near(answers, seed, count):
    """`count` references of each answer: itself, otherwise written, longer, or another text or number."""
    chosen, others = random.Random(seed), [*texts(seed), *numbers(seed)]
    same = lambda text: text, str.upper, lambda text: f"{text}.", lambda text: text.replace(" ", "; ")
    make = (*same, *[lambda text: f"{text}s a", lambda text: chosen.choice(others)] * 2)
    return [[chosen.choice(make)(text) for _ in range(count)] for text in answers]


PHRASES = [" ".join(random.Random(k).choices(CHOICES, k=1 + k % 3)) for k in range(COUNT)]
BINARY = [" ".join(random.Random(k).choices(SAID, k=1 + k % 2)) for k in range(COUNT)]
PAIRS = {  # method: (answers, references)
    "vqa_score": (texts(1), near(texts(1), 2, 10)),
    "accuracy": (texts(3, 1), near(texts(3, 1), 4, 1)),
    "relaxed_accuracy": (numbers(5), near(numbers(5), 6, 2)),
    "anls": (texts(7, 4), near(texts(7, 4), 8, 3)),
}
OURS = {"vqa_score": textvqa_score, "accuracy": equals_reference, "relaxed_accuracy": relaxed_match, "anls": anls}


def in_digits(scores):
    return "".join(DIGITS[round(61 * score)] for score in scores)


THEIRS = {
    "vqa_score": (
        "ZBZBBZZZZZZTZZZZZZZZZBZZZZZZZZZTBZZBZiZZZZZZZZZZZTZZZZZZZZZZZZZZZZZZZZZBTZTiZZZTZZZZZZZZZZZTZZTZZiTZZZZZZZZZZZZZZZZZ"
        "ZZZZZZZZZZZZZTZZTZiZTZZZTTZZZZZZZZZZBZZZZZZZZZZZZZZZZZZZTZZZZZZZTZZZZTZZBBZZTZZZZZZTBZZTZZTBBZZZZZBZZZZBZZZZZZBZTZZZ"
        "TZZZZZZZZZZTZZZZZZZZZBZZZTTZZBZZZTZZTZZZZTZZZTZZZTZZZZZZTZZZZZZZTZTZZBZZZZTiZTZZTZZZZZZZZZBZZZZZZZZZBBZTZZZZZZZZTTZZ"
        "ZTZZZTZZZZTTZZZZiZTZZTZZZZZZZZZZZZZBZZZZTZZZZZZZZZZZZZZZZZZZZZTZZZTBBZZiZTZZZZZZZZZZZTZZZZZZZZZZZZZTZZZZZZZZZZZZZZZZ"
        "ZZZZZTZZTZTTBZTZTZZZZZZZZZZZZZTZZBZZ"
    ),
    "accuracy": (
        "Z0Z00ZZZ00ZZ00Z0ZZ00Z000000Z0Z0Z0Z00Z00000Z00ZZZ0000ZZ0ZZ000Z0ZZ0ZZ0000Z0Z000000Z0Z000000Z0Z0ZZ00ZZZZZ00Z0ZZZ00Z0Z00"
        "Z000Z0ZZ00ZZZ00000Z0Z0Z0Z00000Z00000ZZ000Z00000ZZZ0Z0Z00ZZZ0000ZZZ000Z0Z00ZZ0Z00Z00ZZZ0000Z00Z0000000Z0Z0ZZ00ZZ00Z0Z"
        "Z0000000000Z00000ZZ000000ZZZ0Z000ZZ00Z00Z0Z00000000Z00000Z0Z000Z000Z0ZZ00Z000ZZ0ZZZ0Z0Z00000Z0Z000Z00Z000000000Z0Z0Z"
        "00Z0ZZZZZ000000ZZ000ZZ0000ZZ0ZZ000Z0Z0ZZZZ000ZZZZ0ZZZ00Z00000Z000Z00Z00ZZ0000000Z00ZZ000000ZZ0Z0Z00Z0ZZZZ00Z0Z0Z0Z00"
        "Z0ZZZ0Z00Z0000Z00ZZ0000Z0Z00ZZZ0ZZZZ"
    ),
    "relaxed_accuracy": (
        "ZZZ0ZZZZZ00ZZZZZ00ZZ0Z0ZZZ00Z0ZZ0Z0Z0ZZ00000Z00000ZZZZZZZ0ZZ0ZZZZZ0ZZ0Z0ZZ00ZZZZZ0ZZ0ZZZ000ZZ0Z000Z00ZZZZZZZZZZZZZ0Z"
        "ZZZZZZZZZ0ZZ00000ZZ0ZZ000Z000ZZZZ00Z00ZZZZZZZ000ZZ00ZZZZZZ000ZZZZ0Z00ZZ0ZZ00Z0ZZZZ0ZZZZ0000ZZZZ0Z00Z00ZZ0ZZZZ0ZZZZ00"
        "0ZZ00ZZZZ0000ZZ0Z000ZZZZ0ZZ000Z00ZZZZ0ZZZ0Z0ZZ0ZZZZ0ZZ0ZZZZ00Z00ZZZZ000ZZZZZZZZZZZ00ZZ0ZZZ0ZZZ00ZZ0ZZ0Z0ZZ0ZZZZZZZZZ"
        "ZZZ00ZZZZZZ00000ZZ0ZZZZZZ0ZZZZZZ0Z0Z0ZZZZZ0ZZZZZZZZZZZ00ZZZZZ00ZZZZ0ZZ0ZZ00ZZZ0Z0ZZZZZ0ZZZZ0Z0Z0ZZZZZ0ZZZZ0ZZZ00000Z"
        "ZZ0ZZZ000ZZ000ZZZ0Z0ZZZZZ00Z00Z0Z000"
    ),
    "anls": (
        "RZZZZZZPZZZZZU0TZSUZZZOTZSZ0WZZZVZZuZuZMWZZ0ZZZZZZZZZ0ZUZ0PZZZSCSTZZZZZZZZZZZNuZZZZWZZTT0FVWzTRZzZZZZZU0ZZR0Z00ZZ0UZ"
        "ZTZTZ0ZZZRZZZZZZFZZZZ0FZZSZWZZZZZZZZZZ0ZZ0ZNZWZZZZZZVNZZ0ZWZ0ZZZVZWVZZVZZ0ZZZZZZRZZZZFZUVZZZZLVZZZZZZZZTFZZV0ZRLZTVZ"
        "ZZZZZuZZZ0VZZZNZZZZZZZIZZZZW0ZCZZZZZZBTZZTZZZZZXZZ0ZRHSIUZZVVZVXZZZRZ0ZQZZZQZZZW0ZQRZZZZWZZZ0RZ0ZZNZZWTNZLZZVZZZZZZ0"
        "ZZZZFSZSTZKZZZZVZZKZVZWZWWZZZZZZZZKZTZZF0ZZZZVZZZWuZZZZZKW000VZZZZZFZZNZZZZZZZZNZZZ0ZZZ0ZZZQZZZZZPZZPZZQZZTZZZz0ZWZU"
        "0ZZHZZZZZZZSZZZZTZZZZ0ZZZPZRZCZQZZZz"
    ),
    "can_infer": (
        "DDB-BCD-C-CCD-A-DDBA-BCD--BAC-CDDCC-DB-BDBAA-B-DCBA-BC-BCAB-B-B-C-B---BCBDD--DD--DDD-BDCBCBB--C--DD-CBC-DD-CCB-DAD-B"
        "C-B-DBCACDCADCD--DDA--BA-DCD-DCCA-DDC-BCDC----BCDABB-CC-DADA---DCC-CBDDDDD----DC--BDDBAC--DD-----CDDD-D--D-DB-D--CBD"
        "BADDACDDD-D--C-ADB-C--ABD-A-C---CDABC-DDDBC---D-BAACDCD--D-A-DBD-DBDC--ACC-B-B-DA-D-A--BCBDCCCDDAD-DCCC-ADDCBCC---CD"
        "D--DD--BAB-C-CC-BAB-C-DCCD---BA--D--ADC--CCDC---ACCABDDD-A-AD-D-BA--A--CAAAD-BBDACD-CD----BBDBDABCA-D-BDA--------CCB"
        "CBCA-DD-D-BBCCD--A-CC-BDD---DA---DD-"
    ),
    "YOrN_Extraction": (
        "nnonnonoyynooonoynyooooooooonononoonyooyyyoyynoynyonoooooonoynooooyyooooynoyyononynooonoynyoyonoyoyynonooyonnooooyny"
        "noooonoooynoonooyooonyyynynoynnnyonnooynoooonnyonoyooonnyonyyooynnynnnyynoynynnoonyyyyonyyyonoynyooyoonyonnyynoooyoo"
        "noyyoonnooyoonoynnyynyyoooooyoynonoyoyoyoonnyoooyoonyoooonnoonynyoyynooonoyoyynnooyyyooyynoonnnnoooonoonyonoynnyyony"
        "oyonooyoooonononnoyyoonynyynonyoooyooooynononyoyyooynynonoyonnnynoynnoyoyoyonyyonnnonyyoynyynoyyynnynynoynnoooyonony"
        "nyooonyooyyoooooyoonnnynnooynoooooon"
    ),
}
POPE = {"yes_no": 0.278, "precision": 0.5652173913, "recall": 0.312, "f1": 0.4020618557}


@pytest.mark.parametrize("method", PAIRS)
def test_scores(method):
    answers, references = PAIRS[method]
    assert in_digits(map(OURS[method], answers, references)) == THEIRS[method]
    assert len(set(THEIRS[method])) > 1


def test_letters_and_words():
    assert "".join(option_letter(text, OPTIONS) or "-" for text in PHRASES) == THEIRS["can_infer"]
    assert "".join(yes_or_no(text)[0] for text in BINARY) == THEIRS["YOrN_Extraction"]


def test_numbers_of_pope():
    """The right answers are yes and no in turn."""
    outcomes = text_outcomes([VLMEVALKIT_METRICS["vlmevalkit_yes_no"]], BINARY, [[("yes", "no")[k % 2]] for k in range(COUNT)])
    found = {name: VLMEVALKIT_METRICS[f"vlmevalkit_{name}"].metric.value(outcomes, jnp.ones(COUNT)) for name in POPE}
    np.testing.assert_allclose([*found.values()], [*POPE.values()], atol=1e-6)
