"""Which known name a wrong one was meant to be."""

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known name that `word` is most likely a slip for, or ""."""
    from difflib import get_close_matches

    known = list(known)
    found = [name for name in known if name.lower() == word.lower()] or get_close_matches(word, known, 1, 0.6)
    return found[0] if found else ""


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a help line: the nearest known name, else `otherwise`."""
    near = nearest(word, known)
    return f"did you mean `{near}`?" if near else otherwise
