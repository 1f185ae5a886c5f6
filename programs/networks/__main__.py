"""Run a network, hold it against NumPy's integers, and say what it costs; or time a stream of images on all cores.

python -m programs.networks resnet50 [--fused] [--images N] [-o FILE]
"""

import argparse
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

import ratel
from programs.networks import catalogue, reference
from programs.networks.emit import builder
from programs.networks.graph import fused

TASKS = 8


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m programs.networks", description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=catalogue.NETWORKS)
    parser.add_argument("--fused", action="store_true", help="each sum done by the product before it, as a chip would")
    parser.add_argument(
        "--images", type=int, metavar="N", help="time tasks in which each core computes N images, an even number"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="save the program as an object file")
    options = parser.parse_args()
    if options.images is not None and (options.images < 2 or options.images % 2):
        parser.error(f"--images is {options.images}, expected an even number from 2 on: a core works on two at a time")

    network = catalogue.network(options.network)
    network = fused(network) if options.fused else network
    cores = catalogue.CORES.get(options.network, 1)
    given = catalogue.seeded_input(network)
    macs, weights = network.macs(), network.weight_bytes()
    print(f"{network.name}: {len(network.nodes)} nodes, {macs / 1e9:.2f} GMAC, {weights / 1e6:.1f} MB of weights")

    start = perf_counter()
    if options.images:
        cores = ratel.load_chip("hanguang800")["chip.cores"]
        program = builder(network, cores=cores, images=options.images, tasks=TASKS).build()
    else:
        program = builder(network, given, cores=cores).build()
    on = f"{cores} core{'s' if cores > 1 else ''}"
    print(f"built and assembled for {on} of {program.chip.name} in {perf_counter() - start:.2f} s")
    if options.output:
        program.save(options.output)
    if options.images:
        stream = ratel.time(program)
        each = cores * options.images
        rate = stream.rate * each
        print(f"{TASKS} tasks of {each} images: {stream.cycles:,} cycles; in steady state {rate:,.0f} images/s")
        return 0

    expected = reference.run(network, given)[network.output]
    single = ratel.load_chip(program.chip, te__vector_format="fp32", pe__vector_format="fp32")
    ratel.run(program, chip=single)
    start = perf_counter()
    found = ratel.run(program, chip=single).outputs[network.output]
    seconds = perf_counter() - start
    right = np.array_equal(found, expected)
    verdict = "equal to" if right else "WRONG, not"
    print(f"vectors in fp32: {verdict} NumPy's integers; {seconds:.3f} s, {macs / seconds / 1e9:.1f} GMAC/s")

    start = perf_counter()
    run = ratel.run(program)
    own, seconds = run.outputs[network.output], perf_counter() - start
    apart = np.abs(own.astype(int) - expected).max()
    print(f"in the chip's own formats: {np.mean(own == expected):.1%} equal, at most {apart} apart; {seconds:.3f} s")

    chip, cycles = program.chip, run.timeline.compute_cycles
    busy = ", ".join(f"{run.timeline.engines[f'core{core}.te'].busy / cycles:.0%}" for core in range(cores))
    print(
        f"{run.cycles:,} cycles, {cycles:,} without transfers: {cycles / chip.cycles_per_second * 1e6:.1f} us;", end=" "
    )
    print(f"tensor engines busy {busy}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
