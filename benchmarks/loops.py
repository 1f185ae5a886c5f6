"""Small instructions in a hardware loop: how many retire a second, one thread, loading and compilation apart."""

from benchmarks.contenders import CHIPS
from benchmarks.timing import Contender, interleaved
from emulator.execute.session import Session
from emulator.plan.load import load
from ratel import assemble

COPIES, MATMULS = "copies of 64 bytes", "matmuls 16x16x16 with the full chain"
# How often an instruction is repeated, its declarations, and the instruction.
LOOPS = {
    COPIES: (2_000_000, ".input x i8[64] = 3\n.output y i8[64]", "copy y, x"),
    # A bias in ACC, scale and bias in EW1, a second operand in EW2, relu in SF, step, zero point and clamp in EW3.
    MATMULS: (
        300_000,
        """.input x i8[16, 16] scale=0.1 = 3
.input r i8[16, 16] scale=0.2 = 5
.weight w i8[16, 16] scale=0.01 = 5
.const b i32[16] = 7
.const c f32[16] = 0.5
.output y i8[16, 16] scale=0.5 zero=-3""",
        "matmul y, x, w, bias=b, ew1_bias=c, add=r, relu",
    ),
}


def rates(rounds: int, share: float = 1.0) -> dict[str, float]:
    """Return the instructions a second of each loop, repeated `share` of LOOPS' times."""

    def contender(name: str) -> Contender:
        most, declarations, instruction = LOOPS[name]
        count = max(1, int(most * share))
        text = f"{declarations}\nloop i, {count}\n    {instruction}\nbrnz i\nend"
        plan = load(assemble(text), CHIPS["fp32"])
        session = Session(plan)
        session.run({})
        return Contender(lambda: session.run({}), count)

    timings = interleaved({name: contender(name) for name in LOOPS}, rounds)
    return {name: 1 / timing.median for name, timing in timings.items()}
