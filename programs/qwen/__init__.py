"""Language models by their shapes alone: `all_reduce` (the sum over cards)."""
