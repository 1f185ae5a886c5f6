"""What files and texts are changed into, and programs that are right, and short."""

import random
from collections.abc import Sequence
from pathlib import Path

PROGRAMS = Path(__file__).parents[3] / "programs"
NUMBERS = ("0", "-1", "1", "2", "255", "65536", "2147483647", "2147483648", "9223372036854775807", "1" + "0" * 30)
SIGNS = (*'()[],"\\;=.{}', "", "\n", "\t", "\0", "\ufeff", "\u2028", "é", "\U0001f9a1", "\x1b[31m")
WORDS = (*NUMBERS, "1e999", "nan", "-inf", "0x", "1K", "1.5", "%", "//", ":", "::", "+1", "in", "host", "dev")
WORDS += ("core1.a", "strides", "at", "scale=0.1", "zero=3", "axes=[1, 0]", "task", "value=1")
HEADS = (
    "",
    ".chip edge\n.local a i8[2, 4, 8, 8, 8]\n.local l i8[8, 8]\n",
    ".chip hanguang800\n.order compiler\n.semaphore s\n.core 0\n.local a i8[8, 8]\n",
    ".chip edge\n.macro m x, y=1\ncopy x, x\n.endmacro\n.equ N = 4\n",
)
# Programs that are right, and short, so that what is changed in them is met late.
SHORT = (
    ".chip edge\n.local a i8[4]\n.local b i8[4]\nloop i, 2\ncopy b, a\nbrnz i\nend",
    ".chip edge\n.order compiler\n.input x i8[1, 4, 4, 8] scale=0.1\n.output y i8[1, 2, 2, 8] scale=0.1\n"
    "maxpool y, x, window=2, stride=2\n(w.p) fill x, value=3\nend",
    ".chip edge\n.equ N = 2\n.input x i8[N, 8] scale=0.1 = 1\n.weight w i8[8, 4] scale=0.5 = 2\n"
    ".const b i32[4] = [1, 2, 3, 4]\n.output y i8[N, 4] scale=1.0\n.check y exact 0\n"
    "matmul y, x, w, bias=b, relu\nend",
    '.chip edge\n.weight w i8[8, 8] = "w.npy"\n.include "part.inc"\n.local a i8[2, 8, 8]\nloop i, 4\n'
    "copy a[i % PART], w\nbrnz i\nend",
    ".chip edge\n.macro twice x, y\n.repeat k, 2\ncopy x[k], y\n.endrepeat\n.endmacro\n.local a i8[2, 8]\n"
    ".local b i8[8]\ntwice a, b\nend",
    ".chip edge\n.include <llm.npu>\n.input x f32[2, 4]\n.local row f32[2, 1]\n.output y f32[2, 4]\n"
    "softmax y, x, row\nend",
    ".chip hanguang800\n.semaphore s\n.barrier m\n.core 0\n.local a i8[8]\ncopy core1.b, a\nsignal s, me\n"
    "barrier m, me\nend\n.core 1\n.local b i8[8]\nwait s, me\ncopy b[0:4], b[4:8]\nbarrier m, te\nend",
    ".chip edge\n.tasks 3\n.input x f32[2, 4] buffers=2 axes=[1, 0]\n.output y f32[2, 4] axes=[1, 0]\n"
    ".const t f32[256] = 0.5\neltwise y, x[::-1], tanh\neltwise y, x, table=t\nend",
)


def changed(line: str, chance: random.Random, lines: Sequence[str] = ("",)) -> str:
    """Return a line of which letters or words are others, gone, moved or there several times."""
    at = chance.randint(0, len(line))
    match chance.randrange(6):
        case 0:
            return line[:at] + chance.choice(SIGNS) * chance.choice((1, 1, 1, 40)) + line[at:]
        case 1:
            return line[:at] + line[at + chance.randint(1, 6) :]
        case 2:
            return line[:at] + chr(chance.choice((chance.randrange(128), chance.randrange(0xD800)))) + line[at + 1 :]
        case 3:
            words = line.split(" ")
            words[chance.randrange(len(words))] = chance.choice(WORDS)
            return " ".join(words)
        case 4:
            words = line.split(" ")
            chance.shuffle(words)
            return " ".join(words)
    return line + " " + chance.choice(lines)
