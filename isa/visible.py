"""What can be seen of a text: foreign names may hold what a terminal acts on, or what nobody sees."""

import re

# Printable for Python, and yet seen by nobody: of Unicode's Default_Ignorable_Code_Point
# (DerivedCoreProperties.txt) the letters and marks, and the blank of Braille.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def is_visible(text: str) -> bool:
    """Whether each character of a text can be seen, or is a plain space."""
    return text.isprintable() and (text.isascii() or not _UNSEEN.search(text))


def escaped(text: str, kept: str = "") -> str:
    """Return a text in which all that cannot be seen is an escape, as Python writes it, but for characters `kept`."""
    if is_visible(text):
        return text
    return "".join(c if c in kept or is_visible(c) else c.encode("unicode_escape").decode() for c in text)
