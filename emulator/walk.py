"""The compiled loop over a plan: loops, affine addresses, calls of kernels.

Kernels are called through first-class functions of one type, KERNEL, from a tuple: the loop never changes as the
table grows, and each kernel is compiled and cached by itself. It costs about 20 ns an instruction, and 2 ns for each
address that follows a counter.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba.core import types
from numba.core.errors import NumbaExperimentalFeatureWarning

from emulator.jit import KERNEL, hot
from emulator.plan import ADDRESS, FIELDS

# What `walk` keeps between calls: the next instruction, instructions done, then the counters of the loops.
AT, DONE, COUNTERS = 0, 1, 2
# Kinds of instructions; kernels have their index in the tuple, from 0.
OPENS, CLOSES, ENDS = -1, -2, -3
# Why `walk` returned: the code's end, an instruction to stop at, or the budget used up.
ENDED, STOPPED, PAUSED = range(3)


@hot
def nothing(arena: np.ndarray, row: np.ndarray) -> None:
    """The kernel of opcodes that a program does not use."""


@hot
def walk(
    kernels: tuple,
    arena: np.ndarray,
    plan_rows: np.ndarray,
    rows: np.ndarray,
    terms: np.ndarray,
    first_term: np.ndarray,
    kinds: np.ndarray,
    loops: np.ndarray,
    stops: np.ndarray,
    state: np.ndarray,
    passing: bool,
    budget: int,
) -> int:
    """Take at most `budget` steps from state[AT]; return why it stopped.

    `rows` is a copy of `plan_rows` whose addresses follow the counters, by way of `flat_terms`. The walk stops before
    an instruction whose `stops` is set, but for the first one if `passing`.
    """
    at, done = state[AT], state[DONE]
    counters = state[COUNTERS:]
    why = PAUSED
    for _ in range(budget):
        if stops[at] and not passing:
            why = STOPPED
            break
        passing = False
        kind = kinds[at]
        if kind >= 0:
            for t in range(first_term[at], first_term[at + 1]):
                slot = terms[t, 0] + ADDRESS
                if terms[t, 4]:
                    rows[at, slot] = plan_rows[at, slot]
                counter = counters[terms[t, 1]]
                if terms[t, 2] != 0:
                    counter %= terms[t, 2]
                rows[at, slot] += counter * terms[t, 3]
            kernels[kind](arena, rows[at])
            done += 1
            at += 1
        elif kind == OPENS:
            counters[loops[at, 0]] = 0
            at += 1
        elif kind == CLOSES:
            depth = loops[at, 0]
            counters[depth] += 1
            if counters[depth] < loops[at, 1]:
                at = loops[at, 2] + 1
            else:
                counters[depth] = 0
                at += 1
        else:
            why = ENDED
            break
    state[AT], state[DONE] = at, done
    return why


def flat_terms(terms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a plan's terms without the unused ones, and where each instruction's begin in them; n + 1 numbers.

    Columns: offset of the operand in the row, counter, modulus, stride in bytes, 1 for the first of an operand.
    """
    found = np.argwhere(terms[..., 2] != 0)
    flat = np.zeros((len(found), 5), np.int64)
    flat[:, 0] = found[:, 1] * FIELDS
    flat[:, 1:4] = terms[tuple(found.T)]
    flat[:, 4] = found[:, 2] == 0
    return flat, np.searchsorted(found[:, 0], np.arange(len(terms) + 1))


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out numba's remark that first-class functions are an experiment."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaExperimentalFeatureWarning)
        yield


def signature(kernels: int) -> Any:
    """Return the signature of `walk` with a tuple of that many kernels."""
    table, column = types.int64[:, ::1], types.int64[::1]
    with quiet():
        functions = types.UniTuple(types.FunctionType(KERNEL), kernels)
    arrays = (types.uint8[::1], table, table, table, column, column, table, types.boolean[::1], column)
    return types.int64(functions, *arrays, types.boolean, types.int64)
