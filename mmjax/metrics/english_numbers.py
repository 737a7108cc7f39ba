"""English number words -> digits, as in Whisper's normaliser of English (Radford et al., 2022, appendix C).

"twenty two dollars and seven cents" -> "$22.07", "nineteen sixties" -> "1960s", "one oh one" -> "101", "two million" ->
"2000000", "five percent" -> "5%". Quirks of the original are kept, since an error rate depends on them.
"""

import re
from fractions import Fraction
from types import MappingProxyType

__all__ = ["english_numbers"]

_ZEROS = ("o", "oh", "zero")
_ONES = {
    name: number
    for number, name in enumerate(
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
        "nineteen".split(),
        start=1,
    )
}
_TENS = {
    name: 10 * number
    for number, name in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
_THOUSANDS = "thousand million billion trillion quadrillion quintillion sextillion septillion octillion nonillion decillion"
_POWERS = {"hundred": 100} | {name: 1000**number for number, name in enumerate(_THOUSANDS.split(), start=1)}
_IRREGULAR = {"zeroth": (0, "th"), "first": (1, "st"), "second": (2, "nd"), "third": (3, "rd"), "fifth": (5, "th")}
_IRREGULAR |= {"twelfth": (12, "th")}
_ONES_WITH_SUFFIX = {("sixes" if name == "six" else f"{name}s"): (number, "s") for name, number in _ONES.items()}
_ONES_WITH_SUFFIX |= _IRREGULAR | {
    name + ("h" if name.endswith("t") else "th"): (number, "th")
    for name, number in _ONES.items()
    if number > 3 and number not in (5, 12)
}
_TENS_WITH_SUFFIX = {
    name[:-1] + ending: (number, suffix) for name, number in _TENS.items() for ending, suffix in (("ies", "s"), ("ieth", "th"))
}
_POWERS_WITH_SUFFIX = {f"{name}{suffix}": (number, suffix) for name, number in _POWERS.items() for suffix in ("s", "th")}
_SIGNS = {"minus": "-", "negative": "-", "plus": "+", "positive": "+"}
_CURRENCIES = {"pound": "£", "pounds": "£", "euro": "€", "euros": "€", "dollar": "$", "dollars": "$", "cent": "¢", "cents": "¢"}
_SYMBOLS = frozenset([*_SIGNS.values(), *_CURRENCIES.values()])
_DECIMALS = frozenset([*_ONES, *_TENS, *_ZEROS])
_DIGITS = re.compile(r"^\d+(\.\d+)?$")


def english_numbers(text: str) -> str:
    """Text in lower case without punctuation -> the text with numbers as digits, single spaces."""
    reader = _Reader()
    words = _with_spaces(_with_halves(text)).split()
    for before, word, after in zip([None, *words], words, [*words[1:], None]):
        if reader.skip:
            reader.skip = False
        else:
            reader.read(word, before, after)
    reader.flush()
    return _money(" ".join(reader.written))


def _with_halves(text: str) -> str:
    """ "two and a half" -> "two point five" """
    parts, pieces = re.split(r"\band\s+a\s+half\b", text), []
    for number, part in enumerate(parts):
        if not part.strip():
            continue
        pieces.append(part)
        if number < len(parts) - 1:
            last = part.rsplit(maxsplit=2)[-1]
            pieces.append("point five" if last in _DECIMALS or last in _POWERS else "and a half")
    return " ".join(pieces)


def _with_spaces(text: str) -> str:
    """Spaces between digits and letters, except before a suffix: "3rd", "1960s"."""
    text = re.sub(r"([a-z])([0-9])", r"\1 \2", text)
    text = re.sub(r"([0-9])([a-z])", r"\1 \2", text)
    return re.sub(r"([0-9])\s+(st|nd|rd|th|s)\b", r"\1\2", text)


def _money(text: str) -> str:
    """ "$2 and ¢7" -> "$2.07", "$0.07" -> "¢7"; "1" and "1s" are written as words."""
    text = re.sub(r"([€£$])([0-9]+) (?:and )?¢([0-9]{1,2})\b", lambda m: f"{m[1]}{m[2]}.{int(m[3]):02d}", text)
    text = re.sub(r"[€£$]0.([0-9]{1,2})\b", lambda m: f"¢{int(m[1])}", text)
    return re.sub(r"\b1(s?)\b", r"one\1", text)


def _is_number(word: str | None) -> bool:
    return word is not None and _DIGITS.match(word) is not None


def _times(value: int | str, power: int) -> int | None:
    """A number times a power of ten; None if it is not whole, or the string is no number."""
    try:
        product = Fraction(value) * power
    except ValueError:
        return None
    return product.numerator if product.denominator == 1 else None


def _scaled(value: int, power: int) -> int:
    """ "two thousand five" "hundred" -> 2500: the power multiplies what follows the thousands."""
    return value // 1000 * 1000 + value % 1000 * power


class _Reader:
    """Reads words from left to right. written: the words so far. value: the number that is being read, an integer, or digits
    that are not to be added to; None between numbers. prefix: a sign or currency of the next word. skip: whether the next word
    has been read."""

    def __init__(self):
        self.written: list[str] = []
        self.value: int | str | None = None
        self.prefix = ""
        self.skip = False

    def write(self, word: int | str) -> None:
        self.written.append(f"{self.prefix}{word}")
        self.value, self.prefix = None, ""

    def flush(self) -> None:
        if self.value is not None:
            self.write(self.value)

    def read(self, word: str, before: str | None, after: str | None) -> None:
        """before, after: the neighbouring words."""
        digits = word[1:] if word[0] in _SYMBOLS else word
        if _is_number(digits):
            self._read_digits(word, digits)
        elif word in _ZEROS:
            self.value = f"{self.value or ''}0"
        elif word in _ONES:
            self.value = self._with_ones(_ONES[word], before)
        elif word in _ONES_WITH_SUFFIX:
            number, suffix = _ONES_WITH_SUFFIX[word]
            self.write(f"{self._with_ones(number, before)}{suffix}")
        elif word in _TENS:
            self.value = self._with_tens(_TENS[word])
        elif word in _TENS_WITH_SUFFIX:
            number, suffix = _TENS_WITH_SUFFIX[word]
            self.write(f"{self._with_tens(number)}{suffix}")
        elif word in _POWERS:
            self._read_power(_POWERS[word])
        elif word in _POWERS_WITH_SUFFIX:
            number, suffix = _POWERS_WITH_SUFFIX[word]
            self._read_power(number, zero_is_digits=False)
            self.write(f"{self.value}{suffix}")
        elif word in _KINDS:
            _KINDS[word](self, word, before, after)
        else:
            self.flush()
            self.write(word)

    def _read_digits(self, word: str, digits: str) -> None:
        if isinstance(self.value, str) and self.value.endswith("."):  # decimals, or parts of an address
            self.value += word
            return
        self.flush()
        self.prefix = word[0] if digits != word else self.prefix
        whole = _times(digits, 1)
        self.value = digits if whole is None else whole

    def _with_ones(self, number: int, before: str | None) -> int | str:
        """1 to 19 after the value: added where it ends in zeros, else appended."""
        value = self.value
        if value is None:
            return number
        if isinstance(value, str) or before in _ONES:
            cut = before in _TENS and number < 10  # the last zero is that of the tens
            return f"{str(value)[:-1] if cut else value}{number}"
        return value + number if value % (10 if number < 10 else 100) == 0 else f"{value}{number}"

    def _with_tens(self, number: int) -> int | str:
        value = self.value
        if value is None:
            return number
        return f"{value}{number}" if isinstance(value, str) or value % 100 else value + number

    def _read_power(self, power: int, zero_is_digits: bool = True) -> None:
        value = self.value
        if value is None:
            self.value = power
        elif isinstance(value, str) or (value == 0 and zero_is_digits):
            product = _times(value, power)
            if product is None:
                self.write(value)
            self.value = power if product is None else product
        else:
            self.value = _scaled(value, power)

    def _read_sign(self, word: str, before: str | None, after: str | None) -> None:
        self.flush()
        if after in _WORDS or _is_number(after):
            self.prefix = _SIGNS[word]
        else:
            self.write(word)

    def _read_currency(self, word: str, before: str | None, after: str | None) -> None:
        if self.value is None:
            self.write(word)
        else:
            self.prefix = _CURRENCIES[word]
            self.flush()

    def _read_percent(self, word: str, before: str | None, after: str | None) -> None:
        is_percent = word == "percent" or after == "cent"
        if self.value is not None and is_percent:
            self.skip = word == "per"
            self.write(f"{self.value}%")
        else:
            self.flush()
            self.write(word)

    def _read_special(self, word: str, before: str | None, after: str | None) -> None:
        """ "and" after a power and "point" before something else than a decimal are dropped."""
        followed = after in _WORDS or _is_number(after)
        if followed and word == "point":
            if after in _DECIMALS or _is_number(after):
                self.value = f"{self.value or ''}."
        elif followed and word in ("double", "triple") and (after in _ONES or after in _ZEROS):
            self.value = f"{self.value or ''}{str(_ONES.get(after, 0)) * (2 if word == 'double' else 3)}"
            self.skip = True
        elif not (followed and word == "and" and before in _POWERS):
            self.flush()
            self.write(word)


_KINDS = MappingProxyType(
    dict.fromkeys(_SIGNS, _Reader._read_sign)
    | dict.fromkeys(_CURRENCIES, _Reader._read_currency)
    | dict.fromkeys(("per", "percent"), _Reader._read_percent)
    | dict.fromkeys(("and", "double", "triple", "point"), _Reader._read_special)
)
_WORDS = frozenset([*_DECIMALS, *_ONES_WITH_SUFFIX, *_TENS_WITH_SUFFIX, *_POWERS, *_POWERS_WITH_SUFFIX, *_KINDS])
"""All words that a number can contain."""
