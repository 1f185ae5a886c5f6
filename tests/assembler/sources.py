"""Programs in text that several tests use."""

from assembler.assemble import assemble
from assembler.syntax.diagnostics import AssemblyError
from isa.instruction import Instruction
from isa.program import Program

# Every kind of statement, and most forms of each.
GOOD = """\
; A program of every kind of statement.
.name "good"
.chip edge
.order compiler
.equ BATCH = 2*(1 + 1)
.tasks BATCH // 4
.equ STEP = 0.05
.input  x i8[8, 8, 8, 4] scale=STEP zero=3 axes=[0, 3, 1, 2] = 1      ; the default is a splat
.output y i8[8, 8, 8, 8] scale=0.1
.output z f32[8, 8] buffers=3
.weight w i8[8, 3, 3, 4] scale=[0.1, 0.2, 0.3, 0.4,
    0.5, 0.6, 0.7, 0.8] = 2
.weight d i8[8, 8] in dev = [
    1, 2, 3, 4, 5, 6, 7, 8,   ; the first row
    9, 10, 11, 12, 13, 14, 15, 16, -1, -2, -3, -4, -5, -6, -7, -8, 0, 0, 0, 0, 0, 0, 0, 0,
    1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8,
]
.const  b i32[8] = [1, -2, 0x3, 4, 5, 6, 7, 1K]
.const  t f32[256] scale=0.05 = 0.5
.local  a i8[2, BATCH, 8, 8, 8] scale=0.1
.local  l i8[8, 8]
.local  f f32[8, 8] at 0x8000
.local  g f32[64] at f
.check y exact 0
.check z within [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7],
    [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7],
    [0, 1, 2, 3, 4, 5, 6, nan]] atol=1e-3
.check z top1 [0, 1, 2, 3, 4, 5, 6, 7] min=0.5 source="labels.npy"
.macro layer out, x, w, b=none, pad=1
    conv out, x, w, bias=b, pad=pad, relu
.endmacro
load l, d
loop i, 8 // BATCH
    layer a[i % 2], x[i*BATCH : +BATCH], w, b
    (w.t) copy y[i*BATCH : +BATCH], a[i % 2]
    loop j, 2
        .repeat k, 2
            fill l[j*4 : +2, k*4 : +4 : 3], value=k - 1
        .endrepeat
        (w.tm) maxpool y[j : +1, 0:4, ::2, :], y[j : +1], window=2, stride=2, pad=0
    brnz j
brnz i
eltwise z, l, add=f, clip=(0, 6.5)
eltwise z, l, table=t, ew1_scale=t[0:1], x_zero=1
matmul z, l, l, transpose_w, mul=g[0:8]
avgpool y[0:1, 0:1, 0:1], y[0:1], window=global
transpose l, l[:, :], perm=(1, 0)
copy i8[4, 4] in lm at 0x100 + 0*3 strides [8, 1], i8[4, 4] in lm at task*4 + 0x200
end
"""

# Two cores, as the disassembler writes them.
TWO_CORES = """\
.name "two"
.chip hanguang800
.order compiler
.scales explicit
.semaphore ready
.semaphore "task"
.barrier stage

.core 0
.input x i8[4, 8] at 0x0
.weight bank i8[8] in host at 0x0 = 3
.check out exact 3

loop i, 2
    copy core1.inbox[i], x
    (w.t) signal ready, me
brnz i
copy i8[4] in core1.lm at 0x1000, x[1, 0:4]
barrier stage, te
signal task, pe
end

.core 1
.local inbox i8[2, 4, 8] at 0x0
.output out i8[4, 8] at 0x100

loop i, 2
    wait ready, me
    copy out, inbox[i]
brnz i
wait task, me
load inbox[0, 0], core0.bank
barrier stage, me
end
"""


def diagnostics_of(text: str, path: str = "p.npu") -> list[tuple[str, str]]:
    """Return the code and message of each diagnostic."""
    try:
        assemble(text, path)
    except AssemblyError as error:
        return [(diagnostic.code, diagnostic.message) for diagnostic in error.diagnostics]
    return []


def code_of(text: str, chip: str = "edge") -> list[Instruction]:
    """Return the instructions of a text, without its `end`, which is added."""
    return list(assemble(f".chip {chip}\n{text}\nend\n").cores[0].code[:-1])


def segment_at(program: Program, memory: str, address: int) -> bytes:
    """Return the initial bytes from an address on."""
    for segment in program.cores[0].segments:
        if segment.memory == memory and segment.address <= address < segment.end:
            return segment.data[address - segment.address :]
    raise AssertionError(f"nothing lies at {address:#x} of {memory}")
