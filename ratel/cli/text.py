"""`ratel asm`, `dis` and `fmt`: a program's text and its object file."""

import argparse
import shlex
import sys
from pathlib import Path

from isa.files import is_plain, rewrite_whole, write_whole
from isa.memory import hold
from isa.program import Program
from ratel.cli.files import assemble_text, check_targets, read_text, tell
from ratel.cli.options import DONE, WRONG, Declare, UsageError, add_chip, add_memory, add_strict


def declare(command: Declare) -> None:
    """Declare asm, dis and fmt, each with its options."""
    sub = command("asm", assemble, "assemble a program into an object file")
    sub.add_argument("file", metavar="FILE.npu")
    sub.add_argument("-o", dest="object", metavar="FILE.npo", help="object file (default: FILE.npo beside the source)")
    add_chip(sub)
    add_strict(sub)
    add_memory(sub)

    sub = command("dis", disassemble, "print an object file as text")
    sub.add_argument("file", metavar="FILE.npo")
    sub.add_argument("-o", dest="text", metavar="FILE.npu", help="write there, larger data beside it")
    add_memory(sub)

    sub = command("fmt", format_file, "rewrite a program in the standard form")
    sub.add_argument("file", metavar="FILE.npu")
    sub.add_argument("--check", action="store_true", help="change nothing; exit 1 if the file would change")


def assemble(options: argparse.Namespace) -> int:
    source = Path(options.file)
    if options.object is None and (not source.name or source.suffix == ".npo"):
        raise UsageError(f"the object file cannot be {options.file}: name another with -o")
    text = read_text(options.file)
    if options.object is None and not is_plain(source):
        raise UsageError(f"{options.file} is no plain file, with an object file beside it: name one with -o")
    target = options.object or str(source.with_suffix(".npo"))
    program, odd = assemble_text(text, options.file, options.chip, options.set)
    hold(program.data_bytes)
    check_targets([target], ".npo")
    tell(odd, options.strict)
    program.save(target)
    count = sum(len(core.code) for core in program.cores)
    held = sum(len(segment.data) for core in program.cores for segment in core.segments)
    cores = f" on {len(program.cores)} cores" if len(program.cores) > 1 else ""
    print(f"{target}: {count} instructions{cores}, {held} bytes of weights and constants")
    return DONE


def disassemble(options: argparse.Namespace) -> int:
    from assembler.disassemble import disassemble

    program = Program.load(options.file)
    hold(program.data_bytes)
    if options.text is None:
        sys.stdout.write(disassemble(program))
    else:
        check_targets([options.text], ".npu", program, options.file)
        write_whole(options.text, disassemble(program, Path(options.text).parent).encode())
    return DONE


def format_file(options: argparse.Namespace) -> int:
    from ratel import api

    before = read_text(options.file)
    after = api.format(before, options.file)
    if options.check:
        if before != after:
            print(f"{options.file} is not in the standard form; `ratel fmt {shlex.quote(options.file)}` rewrites it")
        return WRONG if before != after else DONE
    if before != after:
        rewrite_whole(options.file, before.encode(), after.encode())
    return DONE
