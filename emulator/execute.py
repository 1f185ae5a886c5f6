"""Execute: run a plan on inputs, in program order, and give its outputs.

Order between engines never shows in the results of a program that is free of races, so there is none here: each
instruction reads its operands, computes and writes before the next begins.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from emulator.kernels import KERNELS, compile_kernels
from emulator.memory import open_arena, tensor
from emulator.plan import Plan, overlap_trap, shares_bytes
from emulator.walk import AT, CLOSES, COUNTERS, DONE, ENDED, ENDS, OPENS, PAUSED, Walker
from isa.errors import InputError
from isa.operand import MAX_LOOP_DEPTH, Operand, Term
from isa.program import Core, Symbol
from isa.table import MNEMONICS
from isa.verify import find_loops

# Between two looks at the clock, and at the keyboard.
PAUSE_SECONDS = 0.05
