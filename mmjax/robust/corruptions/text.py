"""Corruptions of texts, on the host, since tokenizers work there."""

from dataclasses import dataclass

import numpy as np

from mmjax.robust.corruptions.levels import Levels

__all__ = ["KEYS", "MIN_LETTERS", "DroppedWords", "Typos", "misspelled", "neighbours"]

MIN_LETTERS = 4  # of a word with typos, as in MultiBench
KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # rows of a keyboard; each is moved by half a key to the right of the one above


@dataclass(frozen=True)
class Typos:
    """A word of at least four letters gets one typo: two letters exchanged, one doubled, one left out, or the key beside it.

    The kinds of MultiBench (Liang et al., 2021) and of Belinkov and Bisk (2018), drawn alike. First and last letters stay where
    letters are exchanged or left out. Words are separated by white space, which becomes one space. levels: (probability,).
    """

    levels: Levels = ((0.1,), (0.2,), (0.4,), (0.6,), (0.8,))

    def text(self, random: np.random.Generator, text: str, severity: int) -> str:
        (rate,) = self.levels[severity - 1]
        draws = [(random.random(), word) for word in text.split()]
        return " ".join(misspelled(random, word) if draw < rate else word for draw, word in draws)


@dataclass(frozen=True)
class DroppedWords:
    """Words are lost independently; of a text that would lose all of them, the last drawn one stays. levels: (probability,)."""

    levels: Levels = ((0.1,), (0.2,), (0.3,), (0.5,), (0.7,))

    def text(self, random: np.random.Generator, text: str, severity: int) -> str:
        (rate,) = self.levels[severity - 1]
        words = text.split()
        draws = random.random(len(words))
        return " ".join(word for word, draw in zip(words, draws) if draw >= min(rate, draws.max()))


def misspelled(random: np.random.Generator, word: str) -> str:
    """A word with one random typo; a word of fewer than four letters stays."""
    letters = [i for i, character in enumerate(word) if character.isalpha()]
    if len(letters) < MIN_LETTERS:
        return word
    kind, inner = random.integers(4), letters[1:-1]
    at = int(random.choice(inner))
    if kind == 0:
        at = int(random.choice(inner[:-1]))
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at] + word[at:]
    if kind == 2:
        return word[:at] + word[at + 1 :]
    known = [i for i in letters if neighbours(word[i])]
    if not known:
        return word
    at = int(random.choice(known))
    key = str(random.choice(neighbours(word[at])))
    return word[:at] + (key.upper() if word[at].isupper() else key) + word[at + 1 :]


def neighbours(letter: str) -> list[str]:
    """The letters beside a key of a QWERTY keyboard; [] for others."""
    letter, found = letter.lower(), []
    for number, row in enumerate(KEYS):
        place = row.find(letter) if letter else -1
        if place < 0:
            continue
        found += row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
        if number > 0:
            found += KEYS[number - 1][place : place + 2]
        if number < len(KEYS) - 1:
            found += KEYS[number + 1][max(place - 1, 0) : place + 1]
    return found
