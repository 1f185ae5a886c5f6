"""What operations take in two processes, and, assumed, in those between: a straight line on paper of two logarithms.

At 45 nm and 0.9 V: Horowitz, "Computing's Energy Problem (and What We Can Do About It)", ISSCC 2014. At 7 nm: Jouppi et
al., "Ten Lessons From Three Generations Shaped Google's TPUv4i", ISCA 2021, table 2.
"""

from math import log

import ratel
from emulator.timing.stream import Stream

# pJ at 45 nm and at 7 nm. A memory's are of 64 bits.
PICOJOULES = {
    "i8 product": (0.2, 0.07),
    "i32 sum": (0.1, 0.03),
    "f16 product": (1.1, 0.34),
    "bf16 product": (None, 0.21),
    "f32 product": (3.7, 1.31),
    "f32 sum": (0.9, 0.38),
    "32 KB": (20, 8.5),
    "1 MB": (100, 14),
}
DDR, HBM2 = 1300, (250, 450)


def at(nm: float, *operations: str) -> float:
    """Return the pJ of some operations, one of each, at a process."""
    share = log(45 / nm) / log(45 / 7)
    pairs = [PICOJOULES[operation] for operation in operations]
    return sum(old ** (1 - share) * new**share for old, new in pairs if old is not None)


def energies(nm: float, memory: str, dev: float, link: float | None = None) -> dict[str, float]:
    """Return the numbers that a chip file's [energy] takes from these two papers; `memory` is as its LM is built."""
    i8, lm, f16 = at(nm, "i8 product", "i32 sum"), at(nm, memory) / 8, at(nm, "f16 product")
    return {
        "i8_pj": i8,
        # As many multipliers of 8 bits as it takes their cycles.
        "i16_pj": 4 * i8,
        "f16_pj": f16 + at(nm, "f32 sum"),
        # At 45 nm as many times less than f16's as at 7 nm.
        "bf16_pj": f16 * 0.21 / 0.34 + at(nm, "f32 sum"),
        # EW1, EW2 and EW3.
        "lane_pj": 3 * at(nm, "f32 product", "f32 sum"),
        "pool_pj": at(nm, "i32 sum"),
        "lm_pj": lm,
        "cb_pj": at(nm, "32 KB") / 8,
        "dev_pj": dev / 8,
        # 5 pJ a bit.
        "pcie_pj": 40.0,
        "ring_pj": link or lm,
    }


def volts_for(share: float, volts: float, threshold: float = 0.35, alpha: float = 1.3) -> float:
    """Return the supply at which a chip runs at so much of its clock, by the alpha-power law.

    f ~ (V - Vt)^alpha / V: Sakurai and Newton, IEEE Journal of Solid-State Circuits 25 (2), 1990. Vt in V and alpha are
    assumed, for a process of 12 nm.
    """
    low, high = threshold, volts
    for _ in range(60):
        middle = (low + high) / 2
        slower = (middle - threshold) ** alpha / middle < share * (volts - threshold) ** alpha / volts
        low, high = (middle, high) if slower else (low, middle)
    return low


def steady_watts(fewer: Stream, more: Stream) -> float:
    """Return the power of a stream once it runs: of the tasks that one has more than another."""
    joules = (ratel.energy(more).total - ratel.energy(fewer).total) / 1e18
    return joules / (more.seconds - fewer.seconds)
