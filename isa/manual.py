"""The manual: the table and the rest of the machine in Markdown, written by plain loops.

`python -m isa.manual docs/manual.md` writes it, `python -m isa.manual --check docs/manual.md` exits 1 when it is stale.
"""

import struct
import sys
from collections.abc import Iterable, Sequence

from isa.bounds_chip import ROOFLINE_FIELDS
from isa.chip import FIELDS, KIND_OF, SECTIONS, VECTOR_FORMATS
from isa.chip_file import NOT_PUBLIC, Vocabulary
from isa.dtypes import DTYPES
from isa.encoding import DESCRIPTOR, HEADER_BYTES, KIND_FORMAT, WORD_BYTES
from isa.errors import shown
from isa.files import write_generated
from isa.formats import FRACTION_BITS
from isa.grouped import FORMS
from isa.operand import MAX_LOOP_DEPTH, MAX_RANK, MAX_TERMS, MEMORIES, MEMORY_MEANING, PLACEMENT_ALIGNMENT
from isa.program import MAX_SYMBOL_RANK
from isa.row import ENGINE_NAMES, ENGINES, TRAPS, WAIT_LETTERS, AttributeSpec, OperandSpec, Row
from isa.rows_tensor import CHAIN_ATTRIBUTES
from isa.table import MNEMONICS, ROWS
from isa.words import WORD_FORMULAS

DESCRIPTOR_MEANING = {
    "memory": "index in " + ", ".join(f"{k} {name}" for k, name in enumerate(MEMORIES)),
    "dtype": "code of the type",
    "rank": "number of dimensions",
    "terms": "number of affine terms",
    "zero": "zeros",
    "address": "bytes from the start of the memory, at counters 0",
    "shape": "elements in each dimension; those beyond the rank are zero",
    "stride": "elements from one index to the next, in each dimension",
    "term": "counter (u32), modulus (u32, 0 for none), stride (i64, bytes), for each term; unused ones are zero",
    "core": "0 for the own core and for memories that all share, else 1 + the number of the core whose lm it is",
    "stored": "bytes of a weight that is compressed or in groups; 0 for a dense tensor",
    "form": "code of the groups that a weight is in; 0 where it is dense, or compressed",
    "grows": "0, or 1 + the dimension that grows with the task",
    "growth": "modulus (u16) and step (u16): it has step * (task mod modulus) elements more than `shape` says",
}

INTRODUCTION = """\
# The instruction set

This manual is generated from the tables in `isa/` by `isa/manual.py`: change them, not this file.

A program gives a core a few large instructions. Each works on whole tensors; the sequencer hands it to the queue of one
of three engines, which run side by side:

                     +-->  TE  tensor engine    {te}  <-->  LM,  <--  CB
    IB --> SEQ ------+-->  PE  pooling engine   {pe}  <-->  LM,  <--  CB
                     +-->  ME  memory engine    {me}  <-->  LM, host, dev,  -->  CB

The sequencer (SEQ) takes code from the instruction buffer (IB), which holds it or through which it is fetched from
device memory, and runs the loops itself. Tensors lie in the local memory (LM); scales, biases and tables in the
constant buffer (CB), where the host puts them before the first task, and `load` and `copy` those that it has no room
for. A chip has one such core or several, on a ring; see [Cores](#cores).
"""

TYPES = """\
A zero point is a value of its tensor's type, i8, u8 or i16, whatever its attribute could encode; tensors of other types
have none. Of i32 `reduce` has sums, greatest elements and their places, but nothing that is scaled: a sum of i32 is an
i32.

```npu
.input  x i32[4] = 1
.output y f32[1]
reduce y, x, mean
end
; E304
```

A number of the text that becomes an element of a floating type, by `fill` or as data, is rounded to float32, and once
more to the type. What is beyond its greatest, and would become an infinity, or NaN in e4m3, is an error.

```npu
.output h f16[1]
.output b bf16[1]
.output e e4m3[1]
.output f f32[1]
fill h, value=0.1
fill b, value=0.1
fill e, value=0.1
fill f, value=1e-46
end
; h = [0.0999755859375]
; b = [0.10009765625]
; e = [0.1015625]
; f = [0.0]
```

```npu
.input  x f16[1] = 65520
.output h e4m3[1]
fill h, value=465
end
; E504, E309
```
"""

ADDRESSES = f"""\
An operand is a tensor in one memory: an address, a type, a shape of up to {MAX_RANK} dimensions, and for each a stride
in elements. (A declared tensor may have {MAX_SYMBOL_RANK}; the first may count its buffers.) Layouts are NHWC for
activations, OHWI for the weights of `conv`, 1HWC for those of `dwconv`. Addresses are multiples of the element's size;
the assembler places tensors at multiples of {PLACEMENT_ALIGNMENT} bytes. A result may not name one element twice.

A result shares no byte with what the instruction reads, or the program traps, unless it works *in place*: out and
ew2 of `conv`, `dwconv`, `matmul` and `eltwise`, and out and x of `eltwise`, may be one tensor, of one address, one
shape, the same strides, and types of as many bytes.

```npu
.input  x i8[4] = [1, 2, 3, 4]
.output y i8[4] at x
eltwise y, x, add=x
end
; y = [2, 4, 6, 8]
```

```npu
.input  x i8[8] = 1
eltwise x[1:5], x[0:4]
end
; trap: overlaps a tensor
```

The address follows the loop counters, by at most {MAX_TERMS} affine terms:

    address = base + sum of stride * (counter mod modulus)        modulus 0: no modulo

Counter 0 is the number of the task; loops count in 1 to {MAX_LOOP_DEPTH}, from the outside in. So `buffer[i % 2]` is a
double buffer, `x[i*32 : +32]` a tile. Where an operand follows a counter, the counter's loop is open.

One dimension may grow with the task: in task t it has step * (t mod modulus) elements more than in task 0. All operands
of an instruction that grow do so by one modulus; its shapes fit in every task.

The w of `conv`, `dwconv` and `matmul` may be a compressed weight, dense in shape and strides, without terms, of which
`stored` bytes are held: a mask of one bit for each element, row-major, the least significant bit of a byte first, set
where the stored value is other than 0; zeros up to a multiple of the element's size; then those values, in order. It is
expanded on its way to DP: the results are those of the dense form. Values that are missing are 0.

A descriptor holds an operand in {DESCRIPTOR.itemsize} bytes, little-endian. Equal operands share one; descriptors are
numbered by first use, and count against the instruction buffer as the words do. Code that is fetched has those of each
instruction beside its word.
"""

GROUPS = """\
The w of a `matmul` of floats may be in groups, as `form` says. So many elements at a time that follow each other in the
innermost dimension, which they divide, are a block: a scale, a minimum in some forms, then the numbers q, element after
element, of 4 bits two in a byte, the first in its lower half. Blocks follow each other row-major. The element is
q * scale + minimum, rounded once to binary32, then once to the type of w, f16 or bf16; results are those of the dense
form.
Scale and minimum are f16; those of the mx forms are e8m0, 2**(byte - 127), 255 for NaN, and their numbers e4m3 and e2m1
(OCP Microscaling Formats 1.0).
"""

VECTOR = """\
EW1 to EW3 compute in a vector format of the chip, and so does the pooling engine, where it does not only compare; with
subnormals, infinities and NaN as in IEEE 754. Each operation is rounded once, half to even; a multiplication and the
addition behind it in EW1 or EW2 are one operation. An integer becomes a float by one rounding, and constants are
rounded as they are loaded.

The pooling engine adds in a *sum format* of the chip, `pe.sum_format`: fp32 in all that come with ratel. The floats
that it adds, the pixels that it weights, their weights and products, and each step of a sum are rounded to it; integers
that nothing weights are added exactly. The sum leaves in the vector format, rounded once: `float(sum)` in the formulas.
The order of the steps is stated, so that there is one result. A step loses up to half of the last digit of the sum so
far, 2^-(f+1) of it with f fraction bits: with 2^(f+1) terms of one size the next is lost whole, and the sum stops
growing, at 16,777,216 of them in fp32, at 2,048 in fp19. `ratel check` warns of a sum of more (C502).

```npu
.chip hanguang800
.input  x f16[1, 4096] = 1
.output mean f32[1, 1]
.output total f32[1, 1]
.local  e f32[1, 4096]
.local  sum f32[1, 1]
.local  part f32[1, 1]
.local  softmax f32[1, 4096]

reduce  mean, x, mean
eltwise e, x, exp
reduce  sum, e, sum
eltwise part, sum, reciprocal
eltwise softmax, e, mul=part
reduce  total, softmax, sum
end
; mean = [[1.0]]
; total = [[1.0]]
```

Of a mean the quotient scale / count is rounded once, and multiplied; the count itself is exact. In fp19, which has no
2,049:

```npu
.chip hanguang800
.input  x i8[1, 1, 2049, 1] = 1
.output y f32[1, 1, 1, 1]
avgpool y, x, window=global     ; float(2049) is 2048, and 1 / 2049 is 2047/2048 * 2^-11
end
; y = [[[[0.99951171875]]]]
```
"""

CHAIN = """\
The instructions of the tensor engine end in one chain. Each stage may be absent; without a multiplier nothing rounds.

                bias     ew1_scale, ew1_bias     ew2, ew2_scale     table     ew3_scale
                  |               |                     |             |           |
    x, w --> DP --> ACC --+-----> EW1 ----------------> EW2 --------> SF -------> EW3 --> out
                          |
        x of `eltwise` ---+
    `----- integers ------'`----------- floating point, the vector format -----------'

- ACC wraps at 32 bits; up to there products and sums are exact. `eltwise` subtracts x_zero exactly and does not wrap.
- An i32 result is the accumulator itself. `add=` of an i32 tensor adds that to it, wrapped at 32 bits too, and may be
  the result: so sums over parts of K grow in place.
- i16 multiplies with i16 alone, and has an accumulator of 64 bits, which no sum passes. It becomes a float by way of
  float64 (rounded twice where it is beyond 2^53), and is no result itself; the bias is i32 there too.
- f16 multiplies with f16, bf16 with bf16, and both with a w of i8, e4m3 or e5m2, whose numbers they hold exactly. The
  accumulator is a binary32: one operation for each product, `fma`, in the order of kh, kw and c, or of k, from the bias
  (f32) or +0 on, half to even, with subnormals. Padding is +0 there. Nothing else decides a bit: not the tile, the
  thread or the host. That is a definition: real engines add in orders of their own (MMA-Sim, arXiv 2511.10909). Not
  every chip has such multipliers: `te.f16_cycles`.
- The vectors in the constant buffer have one element for each channel (the result's last dimension), or one for all.
- `rne` rounds to the nearest whole number, half to even. Its sum with out_zero is exact: a huge v ends at the bound.
  NaN counts as 0.
- `round_once`, `round_twice` and `round_away` are fixed-point scaling as TensorFlow Lite has it: the first two its
  MultiplyByQuantizedMultiplier with and without TFLITE_SINGLE_ROUNDING, the third what its fully connected layers do.
  The multiplier is m * 2**(s - 31), m and s of type i32, s kept within -31 to 30. They take the accumulator of 32 bits,
  or an integer of `eltwise` less its zero point, to i8, u8 or i16, without a floating step; of the stages before only
  `relu` may stand there.
- An f16, bf16, e5m2 or e4m3 result is v rounded once more, half to even, to what the type holds: subnormal numbers,
  infinities and all. e4m3 has none: what is rounded to more than 448, its greatest number, is NaN (that is all beyond
  464); `clip` before it saturates. A floating result stores each NaN as the one quiet NaN: 0x7fc00000, 0x7e00 in f16,
  0x7fc0 in bf16, 0x7e in e5m2, 0x7f in e4m3. So do all instructions of the pooling engine, also those that compare.
  What only moves elements keeps their bits: the memory engine's instructions, and `resize` with `nearest`.
- A comparison with NaN is false; so `relu` makes 0 of it, `max` and `min` the second tensor's d.
- `div` divides, as IEEE 754 has it: x / 0 is an infinity, 0 / 0 a NaN. A quotient is rounded once, which a product with
  `reciprocal` is not: 49 * (1 / 49) is below 1 in float32.
- `zero_first` adds the zero point before v is rounded, as ONNX's QLinearMul does; without it the zero point is added to
  whole numbers. The two part at ties: 0.5 + 1 is rounded to 2, but 0.5 to 0.
- The table's index is clamp(rne(v) + table_offset, -128, 127), and the first of its values is that of -128. With the
  zero point of a result of 8 bits as its offset, less 128 for u8, a table has a value for each number that the result
  could be, so that a convolution and any function behind it are one instruction
  ([compositions](compositions.md)).

```npu
.input  x f32[4] = [0.3, 464, -1000, inf]
.output y e4m3[4]
.output z e5m2[4]
.output saturated e4m3[4]
eltwise y, x
eltwise z, x
eltwise saturated, x, clip=(-448, 448)
end
; y = [0.3125, 448.0, nan, nan]
; z = [0.3125, 448.0, -1024.0, inf]
; saturated = [0.3125, 448.0, -448.0, 448.0]
```

```npu
.chip hanguang800
.input  x u8[4] = [1, 3, 5, 254]
.input  d i8[4] = [2, 2, 0, 0]
.const  half f32[1] = 0.5
.output quotient f32[4]
.output behind u8[4]
.output before u8[4]
eltwise quotient, x, div=d
eltwise behind, x, ew1_scale=half, out_zero=1
eltwise before, x, ew1_scale=half, out_zero=1, zero_first
end
; quotient = [0.5, 1.5, inf, inf]
; behind = [1, 3, 3, 128]
; before = [2, 2, 4, 128]
```

```npu
.input  x f32[1, 1, 1, 2] = "hex:0100c0ff010080ff"
.output computed f32[1, 1, 1, 2]
.output greatest f32[1, 1, 1, 2]
.output moved f32[1, 1, 1, 2]
.output nearest f32[1, 1, 1, 2]
eltwise computed, x
maxpool greatest, x, window=1
copy    moved, x
resize  nearest, x, nearest
end
; computed = hex:0000c07f0000c07f
; greatest = hex:0000c07f0000c07f
; moved = hex:0100c0ff010080ff
; nearest = hex:0100c0ff010080ff
```
"""

FUNCTIONS = """\
`relu`, `clip`, `leaky_relu`, `hard_sigmoid`, `hard_swish` and `sqrt` are the operations listed, each rounded once to
the vector format, with slope, offset and bounds rounded as they are loaded. The others are computed in float32
(`isa/functions.py` says how, to the bit), then rounded. Their greatest errors there, in units in the last place of
float32, are those of the test: exp 1.2, tanh 2.0, sigmoid 2.3, silu 2.8, gelu 6.5, rsqrt and reciprocal 0.5.

Where a formula above has no value, as infinity / infinity has none, the function has its limit: silu and gelu of
-infinity are -0. The sign of a zero is what the steps make it, so that tanh(-0) is 0.

```npu
.chip   edge
.input  x f32[5] = [-inf, -0.0, 0, inf, nan]
.output sigmoid f32[5]
.output tanh f32[5]
.output gelu f32[5]
.output silu f32[5]
.output exp f32[5]
.output reciprocal f32[5]
.output rsqrt f32[5]
.output hard_swish f32[5]
.output sqrt f32[5]
eltwise sigmoid, x, sigmoid
eltwise tanh, x, tanh
eltwise gelu, x, gelu
eltwise silu, x, silu
eltwise exp, x, exp
eltwise reciprocal, x, reciprocal
eltwise rsqrt, x, rsqrt
eltwise hard_swish, x, hard_swish       ; -infinity * 0 by its formula
eltwise sqrt, x, sqrt
end
; sigmoid = [0.0, 0.5, 0.5, 1.0, nan]
; tanh = [-1.0, 0.0, 0.0, 1.0, nan]
; gelu = [-0.0, -0.0, 0.0, inf, nan]
; silu = [-0.0, -0.0, 0.0, inf, nan]
; exp = [0.0, 1.0, 1.0, inf, nan]
; reciprocal = [-0.0, -inf, inf, 0.0, nan]
; rsqrt = [nan, -inf, inf, 0.0, nan]
; hard_swish = [nan, -0.0, 0.0, inf, nan]
; sqrt = [nan, -0.0, 0.0, inf, nan]
```
"""

ORDER = """\
Within an engine, instructions take effect in program order: one that conflicts with an earlier one of its own engine
starts when that has finished. Two instructions conflict where the bounding byte intervals of an operand of each meet,
from the first byte to the last whatever strides leave out between them, and one of the two is written. Between engines
a program chooses one of two orders:

- `.order hardware`: a scoreboard in each core orders what conflicts on all its engines: an instruction starts when
  every earlier one that it conflicts with has finished.
- `.order compiler`: only wait bits order. `(w.t) maxpool ...` holds the instruction at the head of its own queue until
  the last earlier instruction of the tensor engine has finished. The sequencer issues on; nothing else waits.

Wait bits may be combined, as in `(w.tm)`, and are obeyed in both orders.
"""

CORES = """\
Each core has code, loops, LM and CB of its own. `host` and `dev` are the same for all. The result of a `copy` may lie
in the LM of another core: a remote write, over the ring; nothing reads another core's LM. The scoreboard of a core sees
neither the writes of others nor what they do in `host` and `dev`: semaphores and barriers order those.

{words}

- A semaphore is signalled in one queue, of one engine of one core, and waited for in one; the k-th `wait` is for the
  k-th `signal`, whichever comes first. A barrier has one queue on each core that uses it, and each arrives there
  equally often, loops counted. A program that breaks this is not loaded.
- What is signalled and not waited for stays in the count, so that a credit may be signalled ahead, once for each free
  buffer. Each task counts anew: at its start every semaphore is 0 and nobody has arrived at a barrier; credits that are
  left at `end` are forgotten.
- `signal` and `barrier` take effect once every earlier instruction of their engine has finished, remote writes
  included; what other engines do is waited for by wait bits, as by any instruction: `(w.t) signal done, me`.
- `wait` and `barrier` hold their own queue; the sequencer issues on. Other engines can wait for them by wait bits.

Each core executes in program order; a `wait` without a signal left, or a barrier where others are missing, stops the
whole core until it is met. Where no core can go on, the program traps with `deadlock`, which names every waiting
instruction. This is decided by the program alone: one whose waits cannot be met in program order is a deadlock, however
many instructions the queues of a chip might hold.
"""

TASKS = """\
A run is a stream of tasks, often of one. For each the command processor moves the inputs in, lets the cores compute,
each until its `end`, and moves the outputs out. Task t uses buffer t mod n of an input or an output with n buffers, so
that the next input and the last output move while a task computes; all other memory is what the task before left. Where
an input or an output has `axes`, the host has its dimensions in that order, and permutes what moves, in no cycles. The
data of `.weight` and `.const` lie in their memories before the first task; their transfer is set-up, and no part of a
task's cycles. Bytes that nothing has written read as 0.
"""

WORDS = f"""\
An instruction is a word of {WORD_BYTES} bytes, little-endian: the opcode, the wait bits (bit 0 for TE, 1 for PE, 2 for
ME), two bytes of zero; a 16-bit reference for each operand (0 where absent, else 1 + the number of its descriptor); the
attributes, element by element, without padding between them; then zeros. Each meaning has one encoding: 0 is never
-0.0, and an attribute that belongs to a word not chosen holds its default.
"""

EXAMPLES = """\
Each example is a whole program. `ratel time` takes it as it is; for `ratel run` its inputs want data:
`--input x=x.npy`, or a value in the text, as in `.input x i8[4, 64] = 1`.
"""

CHIP_FILES = f"""\
A chip is described by a TOML file with the sections {", ".join(f"`[{name}]`" for name in SECTIONS)}. Each number needs
its source, in the key `source` of its section: `source.latency = "assumed"`. Sizes are in bytes. What
the core's clock drives has rates in bytes or elements a cycle and latencies in cycles; device memory, PCIe, and a ring
with a clock of its own have GB/s (10^9 bytes a second) and ns, so another `frequency_mhz` leaves them as fast as they
are. A program runs on any chip that has the memories and sizes that it uses. `ratel chips NAME --toml` prints a whole
file to start from; `--set`, `load_chip` and `Chip.replace` take the same keys, as in `te.latency=20`.

A GPU is not made of TE, PE and ME. Its file has `[chip]` with `name` and `about`, and `[roofline]` instead of all
else: peaks, bandwidths and sizes, each with its source, or `"{NOT_PUBLIC}"` where it is not public. `ratel time`
answers with bounds on such a chip; nothing runs on it, and whatever needs cycles refuses.
"""


def manual() -> str:
    """Return the whole manual."""
    parts = [_introduction(), "\n".join(_instruction_list())]
    parts += ["## Memories", _table(("memory", "meaning"), [(f"`{m}`", MEMORY_MEANING[m]) for m in MEMORIES])]
    parts += ["## Types", _types(), TYPES]
    parts += ["## Operands", ADDRESSES, _descriptor(), "### Groups", GROUPS, _forms()]
    parts += ["## Vector formats", VECTOR, _formats()]
    parts += ["## The chain", CHAIN]
    parts += [f"{spec.meaning}, one of these:\n\n{_words(spec)}" for spec in MNEMONICS["conv"].choices]
    parts += [FUNCTIONS]
    parts += ["## Order and waits", ORDER, _engines()]
    sync = _table(("instruction", "meaning"), [(f"`{r.mnemonic}`", r.meaning) for r in ROWS if r.engine == "sync"])
    parts += ["## Cores", CORES.format(words=sync)]
    parts += ["## Tasks", TASKS]
    parts += ["## Instruction words", WORDS]
    parts += ["## Traps", "A program that cannot run right does not run: it traps, with the line.", _traps(TRAPS)]
    parts += ["## Instructions", EXAMPLES, *(section(row.mnemonic) for row in ROWS)]
    parts += ["## Chip files", CHIP_FILES, *(_chip_section(FIELDS, name) for name in SECTIONS)]
    parts += [_chip_section(ROOFLINE_FIELDS, "roofline")]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def chapters() -> dict[str, str]:
    """Return the manual's chapters by the last word of their headings, in small letters: `chain`, `cores`, `files`."""
    texts = ("## " + text for text in manual().split("\n## ")[1:])
    return {text.partition("\n")[0].split()[-1].lower(): text for text in texts}


def section(mnemonic: str) -> str:
    """Return the section of one instruction; raise KeyError for an unknown mnemonic."""
    row = MNEMONICS[mnemonic]
    parts = [f"### {row.mnemonic}", row.meaning, _code_block(row.formula), _engine_line(row)]
    if row.operands:
        parts.append(_operands(row.operands))
    if row.attributes:
        parts.append(_attributes(row.attributes))
    explained = [spec for spec in row.choices if spec.name in WORD_FORMULAS]
    if explained and explained[0] not in CHAIN_ATTRIBUTES:
        parts += [f"{spec.meaning}, one of these:\n\n{_words(spec)}" for spec in explained]
    elif explained:
        parts.append("The words of a choice are explained under [The chain](#the-chain): `ratel manual chain`.")
    parts.append("Encoded as:\n\n" + _encoding(row))
    parts.append("Traps:\n\n" + _traps(row.traps) if row.traps else "It never traps.")
    parts.append("Example:\n\n" + _code_block(example_program(mnemonic)))
    return "\n\n".join(parts) + "\n"


def example_program(mnemonic: str) -> str:
    """Return a complete program that shows the instruction."""
    return MNEMONICS[mnemonic].program


def _introduction() -> str:
    lists = {engine: ", ".join(row.mnemonic for row in ROWS if row.engine == engine) for engine in ENGINES}
    width = max(map(len, lists.values()))
    return INTRODUCTION.format(**{engine: text.ljust(width) for engine, text in lists.items()})


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _code_block(text: str) -> str:
    return f"```\n{text.strip()}\n```"


def _instruction_list() -> list[str]:
    lines = ["| opcode | instruction | engine | meaning |", "| --- | --- | --- | --- |"]
    for row in ROWS:
        lines.append(f"| {row.opcode:#04x} | [{row.mnemonic}](#{row.mnemonic}) | {row.engine} | {row.meaning} |")
    return lines


FLOAT_FORM = {
    "e4m3": "OCP 8-bit float, to 448, without infinity, storage only",
    "e5m2": "OCP 8-bit float, upper half of a binary16, storage only",
    "f16": "IEEE 754 binary16, storage only",
    "bf16": "upper half of a binary32, storage only",
    "f32": "IEEE 754 binary32",
}


def _types() -> str:
    rows = []
    for dtype in DTYPES.values():
        values = FLOAT_FORM[dtype.name] if dtype.is_float else f"{dtype.low} to {dtype.high}"
        rows.append((f"`{dtype}`", str(dtype.code), str(dtype.bytes), values))
    return _table(("type", "code", "bytes", "values"), rows)


def _descriptor() -> str:
    rows = []
    for name in DESCRIPTOR.names or ():
        field, offset = DESCRIPTOR.fields[name][:2]  # type: ignore[index]
        kind = "record" if field.base.names else str(field.base)
        count = field.itemsize // field.base.itemsize
        rows.append((str(offset), str(field.itemsize), name, f"{count} x {kind}", DESCRIPTOR_MEANING[name]))
    return _table(("byte", "bytes", "field", "form", "content"), rows)


def _forms() -> str:
    rows = []
    for form in FORMS.values():
        least = 0 if form.has_min else -(2 ** (form.bits - 1))
        numbers = {"mxfp8": "e4m3", "mxfp4": "e2m1"}.get(form.kind, f"{least} to {least + 2**form.bits - 1}")
        if form.kind == "q4":
            numbers += ", as 8 more"
        rows.append((f"`{form.name}`", str(form.code), str(form.group), str(form.block_bytes), numbers))
    return _table(("form", "code", "elements", "bytes", "numbers"), rows)


def _formats() -> str:
    rows = []
    for name in VECTOR_FORMATS:
        bits = FRACTION_BITS[name]
        rows.append((f"`{name}`", "1", "8", str(bits), f"{2.0**128 - 2.0 ** (127 - bits):.8g}", f"2^{-126 - bits}"))
    return _table(("format", "sign", "exponent", "fraction", "greatest", "least above 0"), rows)


def _engines() -> str:
    letters = {engine: letter for letter, engine in WAIT_LETTERS.items()}
    rows = [(engine, ENGINE_NAMES[engine], f"`(w.{letters[engine]})`") for engine in ENGINES]
    return _table(("engine", "name", "written"), [*rows, ("seq", ENGINE_NAMES["seq"], "waits for nothing")])


def _words(spec: AttributeSpec) -> str:
    formulas = WORD_FORMULAS[spec.name]
    rows = []
    for value, word in enumerate(spec.words):
        taken = spec.takes.get(word, ())
        argument = f"=({', '.join(taken)})" if len(taken) > 1 else "".join(f"={name}" for name in taken)
        rows.append((str(value), f"`{word}{argument}`", f"`{formulas[word]}`"))
    return _table(("value", "written", "meaning"), rows)


def _traps(codes: Iterable[str]) -> str:
    return "\n".join(f"- `{code}`: {TRAPS[code]}" for code in codes)


def _engine_line(row: Row) -> str:
    if row.engine == "seq":
        return "Engine: the sequencer itself. No wait bits."
    if row.engine == "sync":
        return "Engine: the one whose queue it names. May wait for any engine; see [Cores](#cores)."
    return f"Engine: {ENGINE_NAMES[row.engine]}. May wait for any engine."


def _operands(operands: Sequence[OperandSpec]) -> str:
    rows = []
    for spec in operands:
        low, high = spec.ranks
        rows.append(
            (
                f"`{spec.name}`" + (" (optional)" if spec.optional else ""),
                spec.access,
                " or ".join(spec.memories) + (", or lm of another core" if spec.remote else ""),
                ", ".join(map(str, spec.dtypes)),
                str(low) if low == high else f"{low} to {high}",
                "any strides" if spec.strided else "innermost stride 1",
                spec.meaning,
            )
        )
    return _table(("operand", "access", "memory", "types", "rank", "layout", "meaning"), rows)


def _attributes(attributes: Sequence[AttributeSpec]) -> str:
    rows = []
    for spec in attributes:
        if spec.declared:
            legal, default = f"a declared {spec.declared}", "required"
        elif spec.words:
            listed = spec.name not in WORD_FORMULAS
            legal = ", ".join(f"{k} `{word}`" for k, word in enumerate(spec.words)) if listed else "a word"
            default = "required" if spec.default is None else spec.words[int(spec.default[0])]
        else:
            legal, default = f"{shown(spec.low)} to {shown(spec.high)}", _default(spec)
        rows.append((f"`{spec.name}`", ", ".join(spec.names) or "one", spec.kind, legal, default, spec.meaning))
    return _table(("attribute", "elements", "type", "range", "default", "meaning"), rows)


def _default(spec: AttributeSpec) -> str:
    if spec.default is None:
        return "required"
    return shown(spec.default[0]) if len(set(spec.default)) == 1 else shown(spec.default)


def _encoding(row: Row) -> str:
    rows = [("0", "1", "opcode", f"{row.opcode:#04x}"), ("1", "1", "wait bits", "zero" if row.engine == "seq" else "")]
    rows.append(("2", "2", "zero", ""))
    at = HEADER_BYTES
    for operand in row.operands:
        rows.append((str(at), "2", operand.name, "descriptor, 0 where absent" if operand.optional else "descriptor"))
        at += 2
    for spec in row.attributes:
        size = struct.calcsize("<" + KIND_FORMAT[spec.kind])
        content = f"{spec.count} x {spec.kind}" if spec.count > 1 else spec.kind
        rows.append((str(at), str(size * spec.count), spec.name, content))
        at += size * spec.count
    if at < WORD_BYTES:
        rows.append((str(at), str(WORD_BYTES - at), "zero", ""))
    return _table(("byte", "bytes", "field", "content"), rows)


def _chip_section(fields: Vocabulary, name: str) -> str:
    rows = []
    for key, (kind, low, high, meaning) in fields.items():
        if key.startswith(name + "."):
            words = ", ".join(high) if isinstance(high, tuple) else "text"
            legal = words if kind == "word" else f"{shown(low)} to {shown(high)}"
            whose = f" (`{KIND_OF[key][1]}` alone)" if key in KIND_OF else ""
            rows.append((f"`{key.removeprefix(name + '.')}`", legal, meaning + whose))
    return f"### [{name}]\n\n{_table(('key', 'range', 'meaning'), rows)}"


def main(arguments: Sequence[str]) -> int:
    return write_generated(arguments, "isa.manual", manual)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
