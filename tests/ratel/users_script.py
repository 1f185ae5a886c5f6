"""What a user writes, to be checked in strict mode from outside the tree: see test_outside.py, which also runs it."""

from typing import reveal_type

import numpy as np

import ratel
from ratel import Builder, quantise

weights, w_scale = quantise.weights(np.arange(-108.0, 108.0).reshape(8, 3, 3, 3))
x_scale = quantise.scale([np.linspace(-1.0, 1.0, 192)])
b = Builder("net", chip="edge", order="hardware")
x = b.input("x", "i8", (1, 8, 8, 3), scale=x_scale)
w = b.weight("w", weights, scale=w_scale)
bias = b.const("bias", quantise.bias([0.5] * 8, x_scale, w_scale))
hidden = b.local(None, "i8", (1, 8, 8, 8), scale=0.5)
y = b.output("y", "i8", (4, 1, 4, 4, 8), scale=0.5)
b.conv(hidden, x, w, bias=bias, pad=1, stride=(1, 1), relu=True)
with b.loop(4) as i:
    pooled = b.maxpool(y[i], hidden, window=2, stride=2, wait="t")
    b.eltwise(y[i], pooled, add=y[i], clip=(0, 6))
program = b.build()
run = ratel.run(program, {"x": np.zeros((1, 8, 8, 3))}, threads=1)
print(reveal_type(run).outputs["y"].shape, run.cycles, [check.passed for check in run.checks])
with ratel.Session(program, chip=ratel.load_chip("edge", te__latency=20)) as session:
    print(session.run({"x": np.zeros((1, 8, 8, 3), np.int8)}).passed)
schedule = ratel.time(program, "hanguang800")
print(reveal_type(schedule).cycles, schedule.seconds, schedule.engines["core0.te"].busy)
print(schedule.critical_path[0].reason, [finding.message for finding in ratel.check(program).findings])
try:
    reveal_type(ratel.assemble("relu y, x")).save("net.npo")
except ratel.AssemblyError as error:
    print(error.help, error.diagnostics[0].code, error.diagnostics[0].span.line)
