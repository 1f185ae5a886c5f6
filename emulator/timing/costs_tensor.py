"""What a product asks of the tensor engine: cycles of its multipliers, bytes through its port, cycles until it begins.

Two kinds of engine: b x K dot products of p multipliers each, and a systolic array of R x C multipliers. The array's
formulas are those of SCALE-Sim (Samajdar et al., "A Systematic Methodology for Characterizing Scalability of DNN
Accelerators using SCALE-Sim", ISPASS 2020).
"""

from dataclasses import dataclass
from math import ceil, prod

from isa.chip import SYSTOLIC, Chip
from isa.instruction import Instruction, products_of_sum


@dataclass(frozen=True)
class Product:
    """A matrix of pixels x length times one of length x channels, `repeats` times (groups, or a batch's own weights).

    With `own_channel` each channel has inputs of its own (a depthwise convolution), and nothing is read again.
    """

    pixels: int
    channels: int
    length: int
    repeats: int = 1
    own_channel: bool = False


def products_a_cycle(chip: Chip) -> int:
    """Return how many products of 8 bits the tensor engine of a core has multipliers for."""
    sizes = ("te.rows", "te.columns") if chip["te.kind"] == SYSTOLIC else ("te.multipliers", "te.pixels", "te.channels")
    return prod(int(chip[size]) for size in sizes)


def product_cycles(chip: Chip, product: Product) -> int:
    """Return the cycles that the multipliers of 8 bits take."""
    if chip["te.kind"] == SYSTOLIC:
        # A column of the array sums over its rows, so nothing but one channel's taps can lie in it.
        alone = product.channels if product.own_channel else 1
        channels = 1 if product.own_channel else product.channels
        return product.repeats * alone * systolic_cycles(chip, product.pixels, channels, product.length)
    # b pixels by K channels at once, p products of each sum a cycle.
    tiles = ceil(product.pixels / chip["te.pixels"]) * ceil(product.channels / chip["te.channels"])
    return product.repeats * tiles * ceil(product.length / chip["te.multipliers"])


def systolic_cycles(chip: Chip, pixels: int, channels: int, length: int) -> int:
    """Return the cycles of an array whose folds (parts of the product, each as large as the array) do not overlap.

    Weight- or input-stationary: R cycles to shift the stationary matrix in, row by row; then T vectors enter one a
    cycle, skewed by a cycle a row, so the last element enters after T + R - 1 and its sum has crossed the other
    C - 1 columns: 2R + C + T - 2. The rows hold the length, and the columns the channels (or the pixels).

    Output-stationary: nothing is loaded; a result is summed where it stays, both inputs skewed, so the last
    multiplier sees the last of T pairs after R - 1 + C - 1 more cycles: R + C + T - 2. SCALE-Sim lets the results of
    one fold shift out while the next begins. The rows hold the pixels, the columns the channels.
    """
    rows, columns, dataflow = chip["te.rows"], chip["te.columns"], chip["te.dataflow"]
    if dataflow == "output-stationary":
        return ceil(pixels / rows) * ceil(channels / columns) * (rows + columns + length - 2)
    held, streamed = (channels, pixels) if dataflow == "weight-stationary" else (pixels, channels)
    return ceil(length / rows) * ceil(held / columns) * (2 * rows + columns + streamed - 2)


def streamed_bytes(chip: Chip, product: Product, x: int, w: int) -> int:
    """Return the bytes of x and w that pass the port, of operands of so many.

    The A-buffer's window re-reads no pixel for a tap, and the W-buffer holds the weights of the channels at work
    (assumed). So x passes once for each K channels, with every weight once; or every weight once for each b pixels,
    with x once: the lesser. In an array what is stationary passes once, and the other once for each of its folds.
    """
    if product.own_channel:
        return x + w
    if chip["te.kind"] == SYSTOLIC:
        rows, columns, dataflow = chip["te.rows"], chip["te.columns"], chip["te.dataflow"]
        x_again, w_again = ceil(product.channels / columns), ceil(product.pixels / columns)
        if dataflow == "output-stationary":
            return x * x_again + w * ceil(product.pixels / rows)
        return x * x_again + w if dataflow == "weight-stationary" else x + w * w_again
    by_channels, by_pixels = ceil(product.channels / chip["te.channels"]), ceil(product.pixels / chip["te.pixels"])
    return min(x * by_channels + w, x + w * by_pixels)


def fill_cycles(chip: Chip, product: Product, x_bytes: int, w_bytes: int) -> int:
    """Return the cycles until the first product: W-buffer and A-buffer hold what the multipliers take in one step.

    That is p elements for each of K channels and b pixels. A fold of an array counts its own fill.
    """
    if chip["te.kind"] == SYSTOLIC:
        return 0
    step = min(product.length, chip["te.multipliers"])
    weights, pixels = min(product.channels, chip["te.channels"]), min(product.pixels, chip["te.pixels"])
    return ceil(step * (weights * w_bytes + pixels * x_bytes) / chip["te.read_bytes_per_cycle"])


def product_of(instruction: Instruction) -> Product | None:
    """Return the product of conv, dwconv or matmul, whatever the chip; None of other instructions."""
    if instruction.row.mnemonic not in ("conv", "dwconv", "matmul"):
        return None
    out, w, length = instruction.operand("out"), instruction.operand("w"), products_of_sum(instruction)
    assert out is not None and w is not None
    if instruction.row.mnemonic == "conv":
        filters, groups = w.shape[0], int(instruction.attribute("groups")[0])
        return Product(out.elements // filters, filters // groups, length, groups)
    if instruction.row.mnemonic == "dwconv":
        # One filter a channel: of the multipliers that sum one result only the taps work.
        channels = w.shape[3]
        return Product(out.elements // channels, channels, length, own_channel=True)
    rows, columns = out.shape[-2:]
    # A weight that all of the batch shares makes one tall matrix; otherwise each of the batch begins anew.
    batch = out.elements // (rows * columns)
    pixels, repeats = (batch * rows, 1) if w.elements == length * columns else (rows, batch)
    return Product(pixels, columns, length, repeats)


def macs(instruction: Instruction) -> int:
    """Return the products that an instruction sums, whatever the chip; 0 where it has none."""
    product = product_of(instruction)
    if product is None:
        return 0
    return product.repeats * product.pixels * product.channels * product.length
