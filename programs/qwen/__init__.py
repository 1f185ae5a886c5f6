"""Language models by their shapes alone: how long a token takes, without a weight.

`shapes` (layers, widths and heads of three of them), `decoder` (the program of a token), `all_reduce` (the sum over
cards), `__main__` (the command).
"""
