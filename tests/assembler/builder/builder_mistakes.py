"""What can be wrong in Python code that builds a program: under each bad line stands what is said about it.

Each function gets a Builder and a few tensors of it; what it wrote is then built.
"""

# ruff: noqa: F841

from types import SimpleNamespace
from typing import Any

import numpy as np

import ratel

Tensors = SimpleNamespace


def tensors(b: Any) -> Tensors:
    return SimpleNamespace(
        x=b.input("x", "i8", (1, 8, 8, 4), scale=0.1),
        w=b.weight("w", np.ones((8, 3, 3, 4), np.int8), scale=0.1),
        y=b.output("y", "i8", (1, 8, 8, 8), scale=0.1),
        t=b.local("t", "i8", (2, 8, 8)),
    )


def unknown_attribute(b: Any, t: Tensors) -> None:
    b.conv(t.y, t.x, t.w, pad=1, strid=2)
    # error[E204]: conv has no `strid`
    b.fill(t.t, valu=np.ones(3))
    # error[E204]: fill has no `valu`
    b.conv(t.y, t.x, t.w, pad=1, **{"a b": 1})
    # error[E204]: conv has no `a b`


def unknown_function(b: Any, t: Tensors) -> None:
    b.conv(t.y, t.x, t.w, pad=1, Relu=True)
    # error[E302]: conv does not take `Relu` here
    b.conv(t.y, t.x, t.w, pad=1, relu=True, tanh=True)
    # error[E302]: `tanh` and `relu` exclude each other
    b.conv(t.y, t.x, t.w, pad=1, clip=True)
    # error[E301]: `clip` needs a value


def shapes(b: Any, t: Tensors) -> None:
    b.conv(
        t.y,
        t.x,
        t.w,
    )
    # error[E305]: `out` (your `y`) has shape [1, 8, 8, 8]
    b.copy(t.t[0], t.t[1, 0:4])
    # error[E305]: `x` (your `t[1, 0:4]`) has shape [4, 8]


def an_array_for_a_tensor(b: Any, t: Tensors) -> None:
    b.conv(t.y, t.x, np.ones((8, 3, 3, 4), np.int8))
    # error[E205]: `w` of conv is an array int8 [8, 3, 3, 4]


def a_number_for_a_tensor(b: Any, t: Tensors) -> None:
    b.conv(t.y, t.x, t.w, bias=3)
    # error[E205]: `bias` of conv is the number 3


def a_name_for_a_tensor(b: Any, t: Tensors) -> None:
    b.conv(t.y, "x", t.w)
    # error[E205]: `x` of conv is the text 'x'


def a_word_without_its_tensor(b: Any, t: Tensors) -> None:
    b.eltwise(t.y, t.x, add=[1, 2])
    # error[E205]: `add` of eltwise is a list


def an_operand_that_is_missing(b: Any, t: Tensors) -> None:
    b.conv(t.y, w=t.w)
    # error[E301]: conv needs `x`


def an_operand_given_twice(b: Any, t: Tensors) -> None:
    b.conv(t.y, t.x, t.w, w=t.w)
    # error[E302]: `w` is given twice


def too_many_operands(b: Any, t: Tensors) -> None:
    b.copy(t.t[0], t.t[1], t.x)
    # error[E302]: copy does not take `x` here


def the_value_of_an_attribute(b: Any, t: Tensors) -> None:
    b.conv(t.y, t.x, t.w, stride={"height": 1})
    # error[E309]: `stride` is a dict


def words_of_other_tools(b: Any, t: Tensors) -> None:
    b.conv(t.y, t.x, t.w, pad="same")
    # error[E309]: `pad` is a word
    b.conv(t.y, t.x, t.w, pad=1, stride=2.5)
    # error[E309]: `stride` is 2.5
    b.conv(t.y, t.x, t.w, pad=(1, 1, 1))
    # error[E309]: `pad` has 3 values
    b.conv(t.y, t.x, t.w, pad=np.array([1, 1, 1]))
    # error[E309]: `pad` has 3 values


def waits(b: Any, t: Tensors) -> None:
    b.fill(t.t, wait="x")
    # error[E107]: `x` is no set of engines
    b.fill(t.t, wait=("t", "m"))
    # error[E107]: a tuple names no engines


def beyond_a_tensor(b: Any, t: Tensors) -> None:
    with b.loop(4, "k") as k:
        b.fill(t.t[:, k * 3 : k * 3 + 3])
        # error[E306]: `t` has 8 elements in dimension 1, but this is 9 : 12 when k = 3
        b.fill(t.t[2])
        # error[E306]: `t` has 2 elements in dimension 0, but this is 2
        b.fill(t.t[k - 3])
        # error[E306]: `t` has 2 elements in dimension 0, but this is -3 when k = 0
        b.fill(t.t[0, ::0])
        # error[E307]: the step is 0
        b.fill(t.t[0, 1.5:])
        # error[E309]: this is 1.5
        b.fill(t.t[:, 0:k])
        # error[E307]: the length of this slice changes with a counter
        b.fill(t.t[k // 2])
        # error[E308]: `//` of a counter
        b.fill(t.t[3 % (k + 1)])
        # error[E308]: `%` by a counter
        b.fill(t.t[k * k])
        # error[E308]: counters are multiplied
        b.fill(t.t[0, 0, 0, k])
        # error[E307]: 4 indices are given


def before_a_tensor(b: Any, t: Tensors) -> None:
    t.t[0, -9]
    # error[E306]: `t` has no element -9 in a dimension of 8


def a_slice_of_nothing(b: Any, t: Tensors) -> None:
    t.t[0, 5:2]
    # error[E307]: the slice `5:2` of `t` has no elements


def a_moving_slice_of_nothing(b: Any, t: Tensors) -> None:
    with b.loop(2, "k") as k:
        t.t[0, k : k - 2]
        # error[E307]: the slice `k:k - 2` of `t` has no elements


def a_slice_that_ends_before_its_tensor(b: Any, t: Tensors) -> None:
    with b.loop(2, "k") as k:
        b.fill(t.t[0, k + 4 : k + 1 : -1])
        b.fill(t.t[0, k % 2 + 4 : 1 - k % 2 : -1])
        # error[E307]: the length of this slice changes with a counter
        t.t[0, k + 2 : k - 1 : -1]
        # error[E306]: `k - 1` can be below 0, which in Python counts from the end


def an_index_that_is_none(b: Any, t: Tensors) -> None:
    t.t["k"]
    # error[E307]: the text 'k' is no index of `t`


def a_mask_of_one(b: Any, t: Tensors) -> None:
    t.t[True]
    # error[E307]: True is no index of `t`


def a_slice_of_a_slice(b: Any, t: Tensors) -> None:
    t.t[0][1]
    # error[E307]: `t[0]` is sliced twice


def the_value_of_a_counter(b: Any, t: Tensors) -> None:
    with b.loop(4) as i:
        if i == 0:
            # error[E308]: `i` has no value here
            b.fill(t.t)


def a_range_of_a_counter(b: Any, t: Tensors) -> None:
    with b.loop(4) as i:
        range(i * 2 + 1)
        # error[E308]: `i*2 + 1` has no value here


def arithmetic_with_other_things(b: Any, t: Tensors) -> None:
    with b.loop(4) as i:
        i + "1"
        # error[E309]: the text '1' stands where a number is needed


def a_counter_behind_its_loop(b: Any, t: Tensors) -> None:
    with b.loop(2) as i:
        b.fill(t.t[i])
    with b.loop(2) as i_too:
        b.fill(t.t[i])
        # error[E312]: `t[i]` follows `i`, whose loop is closed


def a_loop_that_stays_open(b: Any, t: Tensors) -> None:
    b.loop(2)
    # error[E312]: the loop `i` is never closed
    b.fill(t.t)


def loops(b: Any, t: Tensors) -> None:
    with b.loop(0, "k"), b.loop(2, "x"):
        # error[E309]: the number of iterations is 0
        # error[E202]: `x` means something else already
        b.fill(t.t)


def names(b: Any, t: Tensors) -> None:
    b.local("x", "i8", 4)
    # error[E202]: `x` is declared twice
    b.local("task", "i8", 4)
    # error[E205]: `task` is the number of the task, and can name nothing else
    b.local("other name", "i8", 4)
    # error[E205]: the text 'other name' is no name


def declarations(b: Any, t: Tensors) -> None:
    b.local("a", "int8", 4)
    # error[E207]: `int8` is no type
    b.local("c", "i8", (4, 0))
    # error[E309]: the size is 0
    b.local("d", "i8", 4, memory="sram")
    # error[E207]: `sram` is no memory
    b.local("e", "i8", 4, scale=-1)
    # error[E601]: the scale is -1
    b.weight("f", np.ones(4, np.int8), shape=5)
    # error[E503]: "wrong_f.npy" has shape [4]
    b.const("g", np.ones(4, np.float32), dtype="i32")
    # error[E504]: "wrong_g.npy" holds float32
    b.const("h", [[1, 2], [3]], "i32")
    # error[E503]: this list has 1 element
    b.local("i", "i8", 4, at=(t.y, 3000))
    # error[E404]: `i` takes bytes 3000 to 3004 of `y`, which has 512
    b.local("j", np.int8, 4)
    # error[E207]: int8 is no type


def a_shape_of_words(b: Any, t: Tensors) -> None:
    b.local("a", "i8", ("N", 4))
    # error[E305]: a tuple holds no sizes


def data_without_a_type(b: Any, t: Tensors) -> None:
    b.weight("a", 3)
    # error[E505]: the number 3 has no type or shape of its own


def data_of_another_type(b: Any, t: Tensors) -> None:
    b.weight("a", np.ones(3))
    # error[E504]: the array is of type float64


def no_data(b: Any, t: Tensors) -> None:
    b.weight("a", "a.npy", "i8", 4)
    # error[E504]: the text 'a.npy' is no data


def checks(b: Any, t: Tensors) -> None:
    b.check(t.x, exact=1)
    # error[E603]: `x` cannot be checked
    b.check(t.y, within=1)
    # error[E603]: the check lacks `atol`
    b.check(t.y, exakt=1)
    # error[E207]: `exakt` is no check
    b.check(t.y)
    # error[E603]: 0 expectations are given


def a_check_of_no_tensor(b: Any, t: Tensors) -> None:
    b.check("y", exact=1)
    # error[E205]: the text 'y' cannot be checked


def another_builder(b: Any, t: Tensors) -> None:
    other = ratel.Builder()
    b.fill(other.local("t", "i8", 4))
    # error[E201]: `t` belongs to another Builder


def a_check_of_another_builder(b: Any, t: Tensors) -> None:
    other = ratel.Builder()
    with other.core(0):
        y = other.output("y", "i8", 4)
    b.check(y, exact=0)
    # error[E205]: `y` belongs to another Builder


def an_operand_at_no_address(b: Any, t: Tensors) -> None:
    b.fill(b.operand("i8", (4, 4), "lm", "t"))
    # error[E309]: the text 't' stands where a number is needed


def cores(b: Any, t: Tensors) -> None:
    b.core(1)
    # error[E801]: the number 1 is no core that can be opened here


def a_core_in_a_loop(b: Any, t: Tensors) -> None:
    with b.loop(2), b.core(0):
        # error[E801]: core 0 is opened inside a loop
        b.fill(t.t)


def a_tensor_of_no_core(b: Any, t: Tensors) -> None:
    with b.core(0):
        # error[E801]: tensors or instructions stand before the first `.core`
        b.fill(t.t)


def a_semaphore(b: Any, t: Tensors) -> None:
    b.signal("ready", me=True)
    # error[E205]: `semaphore` of signal is the text 'ready'


def a_semaphore_of_another(b: Any, t: Tensors) -> None:
    b.wait(ratel.Builder().declare("semaphore", "ready"), te=True)
    # error[E802]: `ready` belongs to another Builder


def a_semaphore_without_a_queue(b: Any, t: Tensors) -> None:
    b.signal(b.declare("semaphore", "ready"))
    # error[E301]: signal names no queue
