"""Steps that become one instruction, because the chain of the tensor engine does what stands behind them as well.

What `fused` fuses is the same for every input. A product's last stage multiplies by m and rounds to 8 bits, and a
function of these is a table: EW1 multiplies by the same m, the table's index is rounded as the 8 bits are, and its
offset is their zero point. A table that is a Relu is `relu`. Integers that are widened for floats are widened by the
instruction that reads them, where it rounds the product on its own. What floats go through next, in later stages of the
chain than the step that makes them, that step does as well: each stage rounds as it did.

`joined` is for who asks for it: a sum takes a product before that is rounded to 8 bits.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from compiler.graph import Node
from compiler.steps import Plan, Step, Tensor, View

PRODUCTS = ("conv", "dwconv", "matmul")
ENDS = {"i8": (-128, 127), "u8": (0, 255)}
# What writes a part of a tensor as it writes a whole one.
WRITE_ANYWHERE = (*PRODUCTS, "eltwise", "maxpool", "avgpool")
SECOND = ("add", "sub", "mul", "max", "min", "div")
# Where EW2 scales its tensor as an operation of its own, and not as one with the sum.
SCALED_FIRST = ("mul", "max", "min", "div")
# What of a chain a table may stand behind; special functions and other ways of rounding stand in its place.
BEFORE_TABLE = frozenset(
    ("stride", "pad", "dilation", "groups", "x_zero", "w_zero", "ew2_zero", "out_zero", "transpose_x", "transpose_w")
)
# The stages of the chain by the names that they have in a step: what is in none is the product, or the function, SF.
STAGES: tuple[frozenset[str], ...] = (
    frozenset(("ew1_scale", "ew1_bias")),
    frozenset((*SECOND, "ew2_scale", "ew2_zero")),
    frozenset(),
    frozenset(("ew3_scale", "out_zero", "zero_first")),
)
OF_PRODUCT = BEFORE_TABLE - {"ew2_zero", "out_zero"} | {"out", "x", "w", "bias"}
Changes = dict[Step, Step | None]


class _Uses:
    """Which steps write each tensor, and which read it."""

    def __init__(self, plan: Plan) -> None:
        self.makers: dict[Tensor, list[Step]] = {}
        self.readers: dict[Tensor, list[Step]] = {}
        for step in plan.steps:
            self.makers.setdefault(step.out.tensor, []).append(step)
            for tensor in dict.fromkeys(view.tensor for view in step.reads()):
                self.readers.setdefault(tensor, []).append(step)

    def maker(self, view: View) -> Step | None:
        """Return the one step that makes a tensor of which this is the whole; None where there are more."""
        made = self.makers.get(view.tensor, [])
        whole = view.tensor.kind == "local" and len(made) == 1 and view.is_whole and made[0].out.is_whole
        return made[0] if whole else None

    def is_shared(self, tensor: Tensor) -> bool:
        return len(self.readers[tensor]) > 1


def fused(plan: Plan) -> Plan:
    """Return a plan that makes the same bits by fewer instructions; it says what was fused, what was not, and why."""
    return _in_place(_chained(_widened(_rectified(_looked_up(_needed(plan))))))


def _needed(plan: Plan) -> Plan:
    """Leave out what nobody reads: floats that are only inside of a table's function."""
    wanted: set[Tensor] = set(plan.outputs.values())
    changes = Changes()
    for step in reversed(plan.steps):
        if step.out.tensor in wanted:
            wanted |= {view.tensor for view in step.reads()}
        else:
            changes[step] = None
    return _changed(plan, changes, [], [])


def _changed(plan: Plan, changes: Changes, fused: Sequence[str], unfused: Sequence[str]) -> Plan:
    """Return a plan with other steps, or none, in the places of some, and without views of what nobody makes."""
    steps = tuple(new for step in plan.steps if (new := changes.get(step, step)) is not None)
    gone = {step.out.tensor for step in changes} - {step.out.tensor for step in steps}
    views = {name: view for name, view in plan.views.items() if view.tensor not in gone}
    return replace(plan, steps=steps, views=views, fused=(*plan.fused, *fused), unfused=(*plan.unfused, *unfused))


def _names(*nodes: Node | None) -> str:
    return " + ".join(f"{node.number} {node.label}" for node in nodes if node is not None)


def _looked_up(plan: Plan) -> Plan:
    """Let what makes 8 bits look them up in the table behind it, and in the one behind that."""
    uses, changes = _Uses(plan), Changes()
    done, left = [], []
    for step in plan.steps:
        looks_up = step.mnemonic == "eltwise" and step.operands.keys() == {"out", "x", "table"}
        made = uses.maker(step.operands["x"]) if looks_up else None
        if made is None or made.mnemonic not in (*PRODUCTS, "eltwise") or made in changes:
            continue
        if why := _no_table(uses, made, step):
            left.append(f"{_names(made.node, step.node)}: {why}")
        else:
            changes |= {made: None, step: _with_table(made, step)}
            done.append(_names(made.node, step.node))
    if changes:
        return _looked_up(_changed(plan, changes, done, []))
    return _changed(plan, changes, done, left)


def _no_table(uses: _Uses, made: Step, step: Step) -> str:
    """Return why a step cannot look up its own result as another does; "" where it can."""
    x, out = step.operands["x"], step.out
    if uses.is_shared(x.tensor):
        return "others read what is looked up"
    if made.out.dtype not in ENDS or step.attributes.keys() - {"x_zero", "table_offset", "out_zero"}:
        return "the table is not looked up with 8 bits alone"
    if _zero(step, "out_zero"):
        return "the table's values have a zero point"
    scales = [name for name in ("ew1_scale", "ew1_bias", *SECOND) if name in made.operands]
    if made.attributes.keys() - BEFORE_TABLE or ("ew3_scale" in made.operands and scales):
        return f"the {made.mnemonic} has a function or a multiplier of its own behind its sum"
    if _over(made.out, x, out) is None:
        return "the result lies in another order"
    if ENDS[made.out.dtype][0] - _zero(step, "x_zero") + _zero(step, "table_offset") != -128:
        return "the table does not begin with the least of 8 bits"
    return ""


def _with_table(made: Step, step: Step) -> Step:
    operands, attributes = dict(made.operands), dict(made.attributes)
    operands["out"] = _moved(made.out, step.operands["x"], step.out)
    if "table" in operands:
        # Both have whole numbers: of the one's, the other's.
        held, then = _data(made, "table"), _data(step, "table")
        places = np.clip(held + _zero(made, "out_zero"), *ENDS[made.out.dtype]) - _zero(step, "x_zero")
        at = np.clip(places + _zero(step, "table_offset"), -128, 127).astype(int) + 128
        operands["table"] = _const(made, "table", then[at])
        attributes.pop("out_zero", None)
        return Step(made.mnemonic, operands, attributes, made.node)
    operands["table"] = step.operands["table"]
    if "ew3_scale" in operands:
        operands["ew1_scale"] = operands.pop("ew3_scale")
    offset = attributes.pop("out_zero", 0) - _zero(step, "x_zero") + _zero(step, "table_offset")
    return Step(made.mnemonic, operands, {**attributes, **({"table_offset": offset} if offset else {})}, made.node)


def _rectified(plan: Plan) -> Plan:
    """Let a table that is a Relu be one: the greater of 8 bits and their zero point needs no look-up."""
    return _changed(plan, {step: relu for step in plan.steps if (relu := _as_relu(step))}, [], [])


def _as_relu(step: Step) -> Step | None:
    """Return a step without its table, where that has the greater of what it is looked up with and its zero point."""
    if "table" not in step.operands or step.out.dtype not in ENDS or _zero(step, "out_zero"):
        return None
    least, greatest = ENDS[step.out.dtype]
    zero = _zero(step, "table_offset") + 128 + least
    if zero > greatest or not np.array_equal(_data(step, "table"), np.maximum(np.arange(least, greatest + 1), zero)):
        return None
    operands = {name: view for name, view in step.operands.items() if name != "table"}
    attributes = {name: value for name, value in step.attributes.items() if name != "table_offset"} | {"relu": True}
    return Step(step.mnemonic, operands, attributes | ({"out_zero": zero} if zero else {}), step.node)


def _moved(view: View, x: View, out: View) -> View:
    found = _over(view, x, out)
    assert found is not None, "it was asked for"
    return found


def _zero(step: Step, name: str) -> int:
    return int(step.attributes.get(name, 0))


def _lies_alike(a: View, b: View) -> bool:
    """Return whether two views lie in one way, each in its own tensor."""
    strides = [[s for s, size in zip(view.strides, view.shape) if size != 1] for view in (a, b)]
    return a.shape == b.shape and strides[0] == strides[1]


def _over(view: View, x: View, out: View) -> View | None:
    """Return where the elements of a view go in a step that takes x, element by element, to out.

    None where that is no view, or none whose last dimension lies side by side.
    """
    strides = []
    for size, stride in zip(view.shape, view.strides):
        if size == 1:
            strides.append(1)
            continue
        held = zip(x.shape, x.strides, out.strides)
        within = [o * (stride // s) for n, s, o in held if n != 1 and s <= stride and size * stride <= n * s]
        if not within:
            return None
        strides.append(within[0])
    if view.offset != x.offset or (view.shape[-1] != 1 and strides[-1] != 1):
        return None
    return View(out.tensor, out.offset, view.shape, tuple(strides))


def _widened(plan: Plan) -> Plan:
    """Let what reads floats that are integers, widened, widen them itself: as x, or as a factor or a bound."""
    uses, changes = _Uses(plan), Changes()
    done = []
    for step in plan.steps:
        if not _only_widens(step) or step.out.tensor.kind != "local" or len(uses.makers[step.out.tensor]) > 1:
            continue
        readers = uses.readers.get(step.out.tensor, [])
        if any(reader in changes for reader in readers):
            continue
        read = {reader: _with_widened(reader, step) for reader in readers}
        if read and None not in read.values():
            changes |= {**read, step: None}
            done.append(_names(step.node, *(reader.node for reader in readers)))
    # Who reads two of them takes one at a time.
    return _widened(_changed(plan, changes, done, [])) if changes else plan


def _only_widens(step: Step) -> bool:
    """Return whether a step is (q - zero) * scale of integers, one scale for all, in the order in which they lie."""
    if (
        step.mnemonic != "eltwise"
        or step.operands.keys() - {"out", "x", "ew1_scale"}
        or step.attributes.keys() - {"x_zero"}
    ):
        return False
    x, scale = step.operands["x"], step.operands.get("ew1_scale")
    is_one = scale is None or scale.elements == 1
    is_float = x.dtype != "f32" and step.out.dtype == "f32"
    return is_one and is_float and x.is_whole and step.out.is_whole and _lies_alike(x, step.out)


def _with_widened(reader: Step, step: Step) -> Step | None:
    """Return a step that reads the integers; None where it would round otherwise than the two steps."""
    if reader.mnemonic != "eltwise":
        return None
    x = step.operands["x"]
    operands, attributes = dict(reader.operands), dict(reader.attributes)
    names = [name for name in ("x", *SECOND) if name in operands and operands[name].tensor is step.out.tensor]
    if (
        names == ["add"]
        and not operands.keys() & {"ew1_scale", "ew1_bias", "ew2_scale"}
        and not attributes.get("x_zero")
    ):
        operands["x"], operands["add"], names = operands["add"], operands["x"], ["x"]
    if len(names) != 1 or (names[0] != "x" and names[0] not in SCALED_FIRST):
        return None
    first = names[0] == "x"
    scale, zero = ("ew1_scale", "x_zero") if first else ("ew2_scale", "ew2_zero")
    if scale in operands or attributes.get(zero) or (first and ("ew1_bias" in operands or "table" in operands)):
        return None
    # Both are whole, and lie in one way.
    operands[names[0]] = replace(operands[names[0]], tensor=x.tensor)
    if "ew1_scale" in step.operands:
        operands[scale] = step.operands["ew1_scale"]
    if step.attributes.get("x_zero"):
        attributes[zero] = step.attributes["x_zero"]
    return Step("eltwise", operands, attributes, reader.node)


def _chained(plan: Plan) -> Plan:
    """Let what makes floats take them through the later stages that the one step which reads them has."""
    uses, changes = _Uses(plan), Changes()
    done = []
    for step in plan.steps:
        x = step.operands.get("x")
        made = uses.maker(x) if step.mnemonic == "eltwise" and x is not None and x.dtype == "f32" else None
        if made is None or made in changes or made.mnemonic not in (*PRODUCTS, "eltwise"):
            continue
        if (chained := _with_stages(uses, made, step)) is not None:
            changes |= {made: None, step: chained}
            done.append(_names(made.node, step.node))
    return _chained(_changed(plan, changes, done, [])) if changes else plan


def _with_stages(uses: _Uses, made: Step, step: Step) -> Step | None:
    """Return a step that does what both do; None where a stage is taken, or something lies in another order."""
    x, reads = step.operands["x"], [view.tensor for view in step.reads()]
    # What has no stage stores the same in another type.
    stages = () if step.operands.keys() == {"out", "x"} and not step.attributes else _stages(step)
    if uses.is_shared(x.tensor) or reads.count(x.tensor) > 1 or max(_stages(made)) >= min(stages, default=5):
        return None
    # In the place of the step it reads what it read in its own.
    if any(view.tensor.kind == "local" and len(uses.makers.get(view.tensor, ())) > 1 for view in made.reads()):
        return None
    if x.shape != step.out.shape or _zero(step, "x_zero") or (out := _over(made.out, x, step.out)) is None:
        return None
    operands = {**made.operands, "out": out}
    for name in step.operands.keys() - {"out", "x"}:
        view = step.operands[name]
        if name in SECOND:
            alike = view.shape == x.shape
            if not alike and view.elements > 1:
                return None
            ones = (1,) * len(made.out.shape)
            moved = _over(made.out, x, view) if alike else View(view.tensor, view.offset, ones, ones)
            if moved is None:
                return None
            view = moved
        elif view.elements > 1 and made.out.shape[-1] != x.shape[-1]:
            return None
        operands[name] = view
    return Step(made.mnemonic, operands, {**made.attributes, **step.attributes}, step.node)


def _stages(step: Step) -> set[int]:
    """Return the numbers of the stages that a step has: 0 is the product, 1 to 4 EW1, EW2, SF and EW3."""
    found = {0}
    for name in (step.operands.keys() | step.attributes.keys()) - OF_PRODUCT:
        found.add(next((k for k, names in enumerate(STAGES, 1) if name in names), 3))
    return found if step.mnemonic != "eltwise" or found == {0} else found - {0}


def _in_place(plan: Plan) -> Plan:
    """Let what is made only to be copied be made where the copy is: a part of what is concatenated."""
    uses = _Uses(plan)
    found: dict[Tensor, list[tuple[Step, Step, View]]] = {}
    for step in plan.steps:
        made = uses.maker(step.operands["x"]) if step.mnemonic == "copy" else None
        if made is None or made.mnemonic not in WRITE_ANYWHERE or uses.is_shared(made.out.tensor):
            continue
        if step.out.tensor.kind in ("local", "output") and (out := _over(made.out, step.operands["x"], step.out)):
            found.setdefault(step.out.tensor, []).append((made, step, out))
    order = {step: place for place, step in enumerate(plan.steps)}
    changes, done = Changes(), []
    for tensor, moves in found.items():
        makers = [made for made, _, _ in moves]
        read = {view.tensor for made in makers for view in made.reads() if view.tensor.kind == "local"}
        # In the copies' places in the order what the makers read last lives on; in their own the whole result does.
        waiting = sum(one.bytes for one in read if uses.readers[one][-1] in makers)
        whole = [one for one in uses.makers[tensor] if one.out.is_whole]
        for made, step, out in moves:
            written = Step(made.mnemonic, {**made.operands, "out": out}, made.attributes, made.node)
            # What surrounds a part is filled before it.
            is_filled = any(order[made] < order[one] < order[step] for one in whole)
            own = waiting > tensor.bytes and not is_filled
            changes |= {made: written, step: None} if own else {made: None, step: written}
            done.append(_names(made.node, step.node))
    return _changed(plan, changes, done, [])


def joined(plan: Plan) -> Plan:
    """Return a plan whose sums of quantised values take a product as it is before it is rounded to 8 bits.

    q = rne(acc * m) + z, rne(q * r + other * s + bias) becomes rne(acc * (m * r) + other * s + (bias + z * r)): one
    rounding less, which is worth one step of the result. Where the product saturates, its clamp to 8 bits is gone, too,
    and a result may be as far from onnxruntime's as the product would have gone beyond them.
    """
    uses, changes = _Uses(plan), Changes()
    done, left = [], []
    for step in plan.steps:
        if step.node is None or step.node.op != "QLinearAdd" or not step.operands.keys() >= {"x", "add", "ew2_scale"}:
            continue
        reasons = []
        # The later one: what the other makes is there by then.
        pairs = [("x", "add"), ("add", "x")]
        order = {made: k for k, made in enumerate(plan.steps)}
        found = [(made, pair) for pair in pairs if (made := uses.maker(step.operands[pair[0]])) is not None]
        for made, (own, other) in sorted(found, key=lambda pair: -order[pair[0]]):
            if made.mnemonic not in PRODUCTS or made in changes:
                continue
            if why := _no_join(uses, made, step, own, other):
                reasons.append(f"{_names(made.node, step.node)}: {why}")
                continue
            changes |= {step: _with_sum(made, step, own, other), made: None}
            done.append(f"{_names(made.node, step.node)}, rounded once")
            break
        else:
            left += reasons
    return _changed(plan, changes, done, left)


def _no_join(uses: _Uses, made: Step, step: Step, own: str, other: str) -> str:
    """Return why a product cannot go into a sum; "" where it can."""
    q, second, out = (step.operands[name] for name in (own, other, "out"))
    if second.tensor is q.tensor:
        return "both summands are the product"
    if uses.is_shared(q.tensor):
        return "others read the product, too"
    if made.out.dtype not in ENDS or made.operands.keys() - {"out", "x", "w", "bias", "ew3_scale"}:
        return "the product has more behind it than a multiplier"
    if made.attributes.keys() - BEFORE_TABLE:
        return "the product has a function of its own"
    if _zero(made, "out_zero") in ENDS[made.out.dtype]:
        return "where the product is clamped is its zero, as behind a Relu"
    if second.shape != q.shape or _over(made.out, q, second) is None or _over(made.out, q, out) is None:
        return "the other summand or the result lies in another order, or is repeated"
    return ""


def _with_sum(made: Step, step: Step, own: str, other: str) -> Step:
    q, out = step.operands[own], step.out
    ratios = {"x": _data(step, "ew1_scale", 1.0), "add": _data(step, "ew2_scale", 1.0)}
    ratio, zero = ratios[own], _zero(made, "out_zero")
    operands = {name: view for name, view in made.operands.items() if name not in ("out", "ew3_scale")}
    operands |= {
        "out": _moved(made.out, q, out),
        "add": _moved(made.out, q, step.operands[other]),
        "ew1_scale": _const(made, "ew1_scale", _data(made, "ew3_scale", 1.0) * ratio),
        "ew2_scale": step.operands["ew2_scale" if other == "add" else "ew1_scale"],
    }
    bias = _data(step, "ew1_bias", 0.0) + zero * ratio
    if bias.any():
        operands["ew1_bias"] = _const(made, "ew1_bias", bias)
    if "table" in step.operands:
        operands["table"] = step.operands["table"]
    attributes = {name: value for name, value in made.attributes.items() if name != "out_zero"}
    return Step(made.mnemonic, operands, attributes | step.attributes, step.node)


def _data(step: Step, name: str, default: float = 0) -> Any:
    """Return the elements of a constant of a step, in float64."""
    if name not in step.operands:
        return np.float64(default)
    data = step.operands[name].tensor.data
    assert data is not None, "a constant"
    return data.astype(np.float64)


def _const(step: Step, name: str, data: Any) -> View:
    array = np.atleast_1d(np.asarray(data, np.float32))
    return Tensor(f"{step.out.tensor.name}_{name}", "f32", array.shape, "const", array).view()
