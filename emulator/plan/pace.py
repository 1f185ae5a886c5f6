"""How long compiled code runs before Python has a look at the keyboard and reports progress."""

PAUSE_SECONDS = 0.05


def next_budget(budget: int, seconds: float, most: int) -> int:
    """Return the budget for PAUSE_SECONDS, where `budget` took so many seconds; it grows eightfold at most."""
    share = PAUSE_SECONDS / max(seconds, 1e-6)
    return int(min(max(budget * min(share, 8), 1), most))
