"""Personal data in texts: e-mail addresses, phone numbers and some names, replaced by markers."""

import re
from collections.abc import Collection
from typing import Any

__all__ = ["CALLED", "EMAIL", "HANDLE", "LETTER", "LIMITS", "NAME", "TITLED", "without_personal_data"]

LETTER = r"\w\u0300-\u036f\u0900-\u0eff"  # with the combining marks of Latin, Greek, Cyrillic, Indic, Thai and Lao words
EMAIL = re.compile(rf"(?<![{LETTER}.%+-])[{LETTER}.%+-]{{1,64}}@[{LETTER}-]+(?:\.[{LETTER}-]+)*\.(?![\d_-])[{LETTER}-]{{2,}}")
"""In any script. The look-behind and the limit of a local part (RFC 5321) keep the time linear in the length of a word."""
HANDLE = re.compile(r"(?<![\w@.])@[^\W\d]\w{2,}")
NAME = r"((?:[A-ZÀ-Þ][\w'’-]+\s?){1,3})(?<!\s)"
TITLED = re.compile(r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Herr|Frau|Mme|Mlle|Señor|Señora)\.?\s+" + NAME)
CALLED = re.compile(r"\b(?:[Mm]y name is|[Ii]ch heiße|[Jj]e m['’]appelle|[Mm]e llamo)\s+" + NAME)

LIMITS = (
    "Names are found only after a title (Dr Jones) or a phrase (my name is Ann Lee), or if they are in the list of names that "
    "was given; other names, places, birth dates, addresses and account numbers in texts are not found.",
    "E-mail addresses are not found if they are disguised (ann at example dot org), if the part before the @ is quoted or has "
    "more than 64 characters, or if the domain is a number or has no dot; of a part with other signs than letters, digits and "
    "._%+-, such as an apostrophe, only the end is replaced.",
    "Phone numbers without a country code are found only if the region was given.",
    "Ids, which are paths if a tree of folders was read, and columns of metadata are not changed.",
)


def without_personal_data(text: str, region: str | None = None, names: Collection[str] = ()) -> tuple[str, dict[str, int]]:
    """(the text with [EMAIL], [PHONE], [HANDLE] and [NAME] for what was found, {kind: count}).

    region: ISO 3166 code of the country of phone numbers without a country code, such as "FR"; None: only numbers
    with one are found.
    names: full names that are replaced wherever they are whole words, in any case.
    """
    counts: dict[str, int] = {}

    def replace(pattern: re.Pattern, marker: str, kind: str, text: str) -> str:
        def marked(match: re.Match) -> str:
            counts[kind] = counts.get(kind, 0) + 1
            whole = match.group(0)
            return whole[: match.start(1) - match.start()] + marker if match.re.groups else marker

        return pattern.sub(marked, text)

    text = replace(EMAIL, "[EMAIL]", "e-mail address", text)
    for match in reversed(list(_phones()(text, region))):
        counts["phone number"] = counts.get("phone number", 0) + 1
        text = f"{text[: match.start]}[PHONE]{text[match.end :]}"
    text = replace(HANDLE, "[HANDLE]", "handle", text)
    listed = sorted((name for name in names if name.strip()), key=len, reverse=True)
    if listed:
        pattern = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, listed)) + r")(?!\w)", re.IGNORECASE)
        text = replace(pattern, "[NAME]", "name", text)
    for pattern in (TITLED, CALLED):
        text = replace(pattern, "[NAME]", "name", text)
    return text, counts


def _phones() -> Any:
    try:
        import phonenumbers
    except ImportError as error:
        raise ImportError("phone numbers need phonenumbers: pip install 'mmjax[build]'") from error
    return phonenumbers.PhoneNumberMatcher
