"""ratel: assemble, run bit for bit, and time programs for a T-Head-like NPU.

program = ratel.assemble(text)
run = ratel.run(program, {"x": array})     # run.outputs, run.checks, run.cycles
session = ratel.Session(program)           # session.run({"x": array}), again and again
timeline = ratel.time(program)             # timeline.cycles, timeline.critical_path, timeline.engines
verdict = ratel.check(program)             # "proven", "race", "deadlock", "not proven"; .findings
bounds = ratel.bounds(program, "a800")     # bounds.seconds, bounds.limit: of a chip without cycles
builder = ratel.Builder("net")             # the same programs from Python
compiled = ratel.compile("net.onnx")       # a network: compiled.program, .text, .summary()
session = ratel.onnx.InferenceSession("net.onnx")  # and all of it run, as onnxruntime does
sweep = ratel.sweep(program, {"te.latency": "8..64*2"})  # many chips: sweep.front(), .frame, .plot()
planned = ratel.fleet("fleet.toml")        # cards that do it: planned.kinds, .utilisation, .picture()
w, scale = ratel.quantise.weights(floats)  # and their numbers from floats
"""

from importlib import import_module

# As `typing` has it, which is not loaded here: `python -m ratel` would take a typing.py of the current folder for it.
TYPE_CHECKING = False

__version__ = "0.1.0"

# Loaded on first use: `import ratel` costs nothing, and `ratel.assemble` never loads numba.
_HOMES = {
    "assemble": "ratel.api",
    "compile": "ratel.api",
    "disassemble": "ratel.api",
    "format": "ratel.api",
    "run": "ratel.api",
    "time": "ratel.api",
    "check": "ratel.api",
    "bounds": "ratel.api",
    "sweep": "explore.sweep",
    "Sweep": "explore.sweep",
    "energy": "emulator.explain.energy",
    "area": "emulator.explain.energy",
    "Energy": "emulator.explain.energy",
    "fleet": "explore.fleet.fleet",
    "Run": "ratel.api",
    "Session": "ratel.api",
    "Compiled": "compiler.compiled",
    "Builder": "assembler.builder.builder",
    "load_chip": "isa.chip",
    "Chip": "isa.chip",
    "Program": "isa.program",
    "Schedule": "emulator.timing.result",
    "Timeline": "emulator.timing.timeline",
    "Stream": "emulator.timing.stream",
    "Verdict": "emulator.checker.findings",
    "Bounds": "emulator.timing.bounds",
    "AssemblyError": "assembler.syntax.diagnostics",
    "AssemblyWarning": "assembler.syntax.diagnostics",
    "RatelWarning": "isa.errors",
    "CheckWarning": "isa.errors",
    "RatelError": "isa.errors",
    "ObjectError": "isa.errors",
    "ChipError": "isa.errors",
    "InputError": "isa.errors",
    "Trap": "isa.errors",
}
_MODULES = {"quantise": "isa.quantise", "onnx": "ratel.onnx"}
__all__ = [
    "AssemblyError",
    "AssemblyWarning",
    "Bounds",
    "Builder",
    "CheckWarning",
    "Chip",
    "ChipError",
    "Compiled",
    "Energy",
    "InputError",
    "ObjectError",
    "Program",
    "RatelError",
    "RatelWarning",
    "Run",
    "Schedule",
    "Session",
    "Stream",
    "Sweep",
    "Timeline",
    "Trap",
    "Verdict",
    "__version__",
    "area",
    "assemble",
    "bounds",
    "check",
    "compile",
    "disassemble",
    "energy",
    "fleet",
    "format",
    "load_chip",
    "onnx",
    "quantise",
    "run",
    "sweep",
    "time",
]

if TYPE_CHECKING:
    # The same names for editors and type checkers.
    from assembler.builder.builder import Builder
    from assembler.syntax.diagnostics import AssemblyError, AssemblyWarning
    from compiler.compiled import Compiled
    from emulator.checker.findings import Verdict
    from emulator.explain.energy import Energy, area, energy
    from emulator.timing.bounds import Bounds
    from emulator.timing.result import Schedule
    from emulator.timing.stream import Stream
    from emulator.timing.timeline import Timeline
    from explore.fleet.fleet import fleet
    from explore.sweep import Sweep, sweep
    from isa import quantise
    from isa.chip import Chip, load_chip
    from isa.errors import CheckWarning, ChipError, InputError, ObjectError, RatelError, RatelWarning, Trap
    from isa.program import Program
    from ratel import onnx
    from ratel.api import Run, Session, assemble, bounds, check, compile, disassemble, format, run, time
else:
    # Out of the checkers' sight, or a name that is not here would have a type.
    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return import_module(_MODULES[name])
        if name not in _HOMES:
            raise AttributeError(f"module 'ratel' has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
