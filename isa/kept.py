"""What a frozen value keeps of itself once it was asked for, its cached properties, stays out of its pickles."""

from dataclasses import fields
from typing import Any


def declared(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name, without what is kept beside them: a `__getstate__`."""
    return {field.name: getattr(value, field.name) for field in fields(value)}
