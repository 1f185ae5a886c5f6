"""Networks at random, compiled: each tensor that the chip makes is onnxruntime's, bit for bit, and so on a small chip.

python -m tests.longer.graphs [--networks 500] [--seed 1]
"""

import argparse
import sys
import time
from collections import Counter

import hypothesis
from hypothesis import HealthCheck, given, settings

from ratel.testing.networks import Network, networks
from tests.compiler.test_networks import hold, small_chips


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.longer.graphs", description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    operators, refused, began = Counter[str](), Counter[str](), time.monotonic()
    count = 0

    @hypothesis.seed(options.seed)
    @settings(max_examples=options.networks, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(networks(), small_chips)
    def each(net: Network, small: tuple[int, str]) -> None:
        nonlocal count
        compiled = hold(net, small)
        operators.update(node.op for node in compiled.graph.nodes)
        refused.update(f"{node.op}: {why}" for node, why in compiled.refused.items())
        count += 1
        print(f"\r{count:,} networks", end="", file=sys.stderr)

    each()
    print(f"\n{operators.total():,} nodes, {refused.total():,} of them the host's, {time.monotonic() - began:.0f} s")
    for counted in (operators, refused):
        print(*(f"  {times:6,} {what}" for what, times in counted.most_common()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
