"""Command lines: commands, options, values and files that fit together more or less, and what they leave behind."""

import argparse
import io
import json
import os
import random
import re
import shlex
import shutil
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from assembler.assemble import assemble
from isa.chip import CHIPS
from isa.object_file import to_bytes
from ratel.cli import main as command_line
from tests.assembler.sources import GOOD
from tests.longer.fuzzers.words import PROGRAMS, SHORT, changed

TEXT = SHORT[2]
OBJECT = to_bytes(assemble(TEXT, "p.npu"))
# What there is in the folder, and what there is not.
HERE = [
    *("p.npu", "c.npu", "bad.npu", "race.npu", "good.npu", "part.npu", "p.npo", "cut.npo", "x.npy", "wrong.npy"),
    *("junk.npy", "c.toml", "bad.toml", "empty.npu", "latin.npu", "folder", "link.npu", "nowhere.npu", "no.npu"),
    *("new.npo", "new.npy", "new.json", "new.html", "new.npu", ".", "..", "../up.npy", "/dev/null", "", "a b.npu"),
    *("\x1b[31m.npu", "no/such/folder.npy", "x" * 300, "folder/", "\u202egnp.npy", "-"),
]
PRINTING = ("chips", "manual")
NUMBERS = ["0", "1", "2", "3", "-1", "", "x", "1e3", "0x10", "1" + "0" * 30, "9223372036854775808", "²", "1_0", "nan"]
CHIPS_NAMED = ["edge", "hanguang800", "c.toml", "bad.toml", "no", "edge,hanguang800", "edge,", "", "p.npu", "folder"]
KEYS = ["te.latency", "pe.lanes", "te.lanes", "lm.bytes", "cores", "no.such", "", "te", "te__latency", "clock_mhz"]
WORDS = ["x", "y", "w", "b", "core0.x", "y@1", "x@0", "@", "y@", "no", "", "conv", "chain", "tasks", "convv", "y@-1"]
# What no terminal is to be sent.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Commands:
    """Arguments as JSON; the command ends with 0, 1 or 2, says why, and writes nothing but what it was told to."""

    def __init__(self) -> None:
        # Making the parser takes as long as most commands.
        command_line.parser = cache(command_line.parser)
        _, commands = command_line.parser(frozenset(command_line.COMMANDS.values()))
        self._commands = {name: sub._actions for name, sub in commands.items()}
        self._kept: dict[str, tuple[bytes, int]] = {}

    def case(self, chance: random.Random) -> str:
        if chance.random() < 0.03:
            words = (*WORDS, *HERE, "--version", "--help")
            return json.dumps([chance.choice(words) for _ in range(chance.randrange(4))])
        # What only prints is soon known.
        name = chance.choice([name for name in sorted(self._commands) for _ in range(1 if name in PRINTING else 4)])
        arguments = [name if chance.random() < 0.98 else name[:-1]]
        for action in self._commands[name]:
            if not action.option_strings:
                count = chance.choice((1,) * 20 + (0, 2)) if action.nargs != "?" else chance.choice((0, 1))
                arguments += [self._value(action, chance) for _ in range(count)]
        for action in chance.choices(self._commands[name], k=chance.choice((0, 1, 1, 2, 2, 3, 5))):
            if action.option_strings:
                written = chance.choice(action.option_strings)
                if action.nargs == 0:
                    arguments.append(written)
                elif chance.random() < 0.1:
                    arguments.append(f"{written}={self._value(action, chance)}")
                elif chance.random() < 0.97:
                    arguments += [written, self._value(action, chance)]
                else:
                    arguments.append(written[:-1])
        if chance.random() < 0.1:
            chance.shuffle(arguments)
        return json.dumps(arguments)

    def _value(self, action: argparse.Action, chance: random.Random) -> str:
        form = str(action.metavar or action.dest)
        if chance.random() < 0.04:
            form = chance.choice(("FILE", "N", "KEY=VALUE", "NAME", "NAME|FILE.toml", "NAME=FILE.npy"))
        if form == "KEY=VALUE":
            value = f"{chance.choice(KEYS)}={chance.choice((*NUMBERS, '8', '64'))}"
        elif "toml" in form:
            value = chance.choice((*CHIPS_NAMED, "edge", "c.toml", "hanguang800"))
        elif "=" in form:
            name, file = chance.choice((*WORDS, *"xxxyyy")), chance.choice((*HERE, "x.npy", "x.npy", "new.npy"))
            value = f"{name}={file}"
        elif "FILE" in form:
            # A program more often than what is none.
            any_file = action.option_strings or chance.random() < 0.4
            value = chance.choice(HERE if any_file else ("p.npu", "c.npu", "race.npu", "p.npo", "part.npu"))
        elif form in ("N", "SEED"):
            value = chance.choice(NUMBERS if chance.random() < 0.6 else ("1", "2", "3"))
        else:
            value = chance.choice(WORDS)
        # Never of an absolute name, which would be another file of this computer.
        if chance.random() < 0.05 and "/" not in value:
            value = changed(value, chance).replace("/", "")
        return value

    def run(self, case: str) -> str:
        arguments = json.loads(case)
        self._restore()
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                status = command_line.main(arguments)
            except SystemExit as end:
                status = int(end.code or 0)
        said = out.getvalue() + err.getvalue()
        shown = "ratel " + shlex.join(arguments)
        assert status in (0, 1, 2), f"{shown}: status {status}"
        assert status == 0 or said.strip(), f"{shown}: status {status}, and not a word"
        assert "Traceback" not in said, f"{shown}: {said}"
        assert not CONTROLS.search(said), f"{shown}: prints {CONTROLS.findall(said)}"
        self._nothing_else_changed(arguments, status, shown)
        command = next((word for word in arguments if word in self._commands), "no command")
        return f"{command}, {status}"

    def _nothing_else_changed(self, arguments: list[str], status: int, shown: str) -> None:
        """Hold that files are as they were but those that were to be written, and that none is left half-written."""
        mends = arguments[:1] == ["fmt"] or (arguments[:1] == ["check"] and any(a.startswith("--f") for a in arguments))
        targets = {part for argument in arguments for part in (argument, argument.rpartition("=")[2])}
        if "asm" in arguments and "-o" not in arguments:
            targets |= {str(Path(target).with_suffix(".npo")) for target in targets if Path(target).name}
        targets |= {os.path.normpath(target) for target in targets if target}
        for name, (content, _) in self._kept.items():
            now = Path(name).read_bytes() if Path(name).is_file() else None
            if now == content:
                continue
            assert now, f"{shown}: {name} is gone, or empty"
            named = targets & ({name, "link.npu"} if name == "p.npu" else {name})
            assert mends or named, f"{shown}: {name} is another, and nobody asked for that"
            assert mends or self._is_written_alone(arguments, name), f"{shown}: {name} is read, and replaced"
            assert mends or status == 0 or name.endswith((".npy", ".json")), f"{shown}: {name} is another, {status}"
        for entry in os.scandir("."):
            assert not entry.name.endswith((".part", ".tmp")), f"{shown}: {entry.name} is left"

    def _is_written_alone(self, arguments: list[str], name: str) -> bool:
        """Return whether a file is named once at most: as what is written, and not besides as what is read."""
        # Of several -o the last one counts, so that a file may be named by each.
        pairs = list(pairwise(["", *arguments]))
        last = {os.path.normpath(word.rpartition("=")[2]) for before, word in pairs if _names_output(before, word)}
        others = (word.rpartition("=")[2] for before, word in pairs if not _names_output(before, word))
        return [os.path.normpath(file) for file in others if file].count(name) + (name in last) <= 1

    def _restore(self) -> None:
        """Make the folder as it was for the first case; fast, where a case has changed nothing."""
        if not self._kept or not Path("p.npu").exists():
            self._make()
            return
        for entry in list(os.scandir(".")):
            if entry.name in self._kept and entry.is_file(follow_symlinks=False):
                content, modified = self._kept[entry.name]
                if entry.stat(follow_symlinks=False).st_mtime_ns == modified:
                    continue
            elif entry.name in ("folder", "link.npu", "nowhere.npu", "w.npy", "part.inc"):
                continue
            shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
        for name, (content, _) in self._kept.items():
            if not os.path.lexists(name):
                self._write(name, content)

    def _make(self) -> None:
        np.save("x.npy", np.ones((2, 8), np.int8))
        np.save("wrong.npy", np.ones((3, 8), np.float64))
        files = {
            "p.npu": TEXT.encode(),
            "c.npu": SHORT[1].encode(),
            "bad.npu": TEXT.replace("matmul", "matmull").replace("= 1", "= 1000").encode(),
            "race.npu": (PROGRAMS / "bugs" / "missing_wait.npu").read_bytes(),
            "good.npu": GOOD.encode(),
            "part.npu": SHORT[3].encode(),
            "p.npo": OBJECT,
            "cut.npo": OBJECT[: len(OBJECT) // 2],
            "x.npy": Path("x.npy").read_bytes(),
            "wrong.npy": Path("wrong.npy").read_bytes(),
            "junk.npy": b"\x93NUMPY junk",
            "c.toml": (CHIPS / "edge.toml").read_bytes(),
            "bad.toml": (CHIPS / "edge.toml").read_bytes().replace(b"= 1", b"= -1"),
            "empty.npu": b"",
            "latin.npu": b"; caf\xe9\nend\n",
            "a b.npu": b"copy a, b\nend\n",
        }
        for name, content in files.items():
            self._write(name, content)
        Path("folder").mkdir(exist_ok=True)
        for name, target in (("link.npu", "p.npu"), ("nowhere.npu", "not-there.npu")):
            if not os.path.lexists(name):
                os.symlink(target, name)

    def _write(self, name: str, content: bytes) -> None:
        Path(name).write_bytes(content)
        self._kept[name] = content, os.stat(name).st_mtime_ns


def _names_output(before: str, word: str) -> bool:
    return before == "-o" or word.startswith("-o=")
