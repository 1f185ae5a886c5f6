"""A sweep as one page that loads nothing."""


def page() -> str:
    """Return the page."""
    return ""
