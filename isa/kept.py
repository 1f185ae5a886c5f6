"""What a frozen value keeps of itself once it was asked for, its cached properties, stays out of its pickles."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

Made = TypeVar("Made")


def declared(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name, without what is kept beside them: a `__getstate__`."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def kept_with(value: Any, name: str, make: Callable[[], Made]) -> Made:
    """Return what `make` makes of a frozen value, once: kept beside its fields, as its cached properties are.

    The name is the maker's own. For what is worked out of a value by rooms that it does not know.
    """
    beside = vars(value)
    if name not in beside:
        beside[name] = make()
    return beside[name]
