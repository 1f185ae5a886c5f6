"""The terminal: what is foreign is printed as text, readers may go, and what cannot be written is said."""

import contextlib
import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa.errors import RatelError
from isa.visible import is_visible
from ratel.cli.main import main
from ratel.show.progress import Progress
from ratel.show.tables import console, styled, table, to_stderr
from ratel.show.terminal import Stream, escaped, guarded, own

# A letter that nobody sees, too.
HOSTILE = "\x1b]0;x\x07\x9b2J:x:[red]\u202e\u2066\u200b\u2028\r\x7f\u3164\ud800"
PROGRAM = """\
.name {name}
.chip edge
.input x i8[4] = 1
.output y i8[4]
copy y, x ; {comment}
{more}
end
"""


def harmless(text: str) -> bool:
    return all(is_visible(c) or c in "\n\t" for c in text)


@given(st.text(st.characters(exclude_categories=())))
def test_all_but_printable_characters_are_escaped(text: str) -> None:
    shown = escaped(text)
    assert harmless(shown) and escaped(shown) == shown
    assert shown == text if harmless(text) else len(shown) > len(text)


def test_text_of_people_stays() -> None:
    text = "\u00e9\u4e2d\u05d0\u0301 \U0001f600\n\t"
    assert escaped(text) == text


def test_tables_and_lines_and_errors(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, too, where our own colours are."""
    with guarded():
        shown = table(HOSTILE, [(HOSTILE, "left")])
        shown.add_row(HOSTILE)
        console().print(shown)
        console().print(styled((HOSTILE, "bold"), HOSTILE))
        console().print(HOSTILE)
        print(HOSTILE)
        to_stderr(f"error: {HOSTILE}")
        print(HOSTILE, file=sys.stderr)
    captured = capsys.readouterr()
    assert harmless(captured.out) and harmless(captured.err)
    assert captured.out.count(":x:[red]\\u202e") == 7 and captured.err.count("\\x1b]0;x\\x07\\x9b2J") == 2

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with guarded():
        to_stderr(f"error: {HOSTILE}")
        with Progress(HOSTILE) as progress:
            progress.began -= 10
            progress.advance(1, 2)
    own_codes = ("\x1b[1;31m", "\x1b[0m", "\r\x1b[K")
    shown_text = terminal.getvalue()
    for code in own_codes:
        assert code in shown_text
        shown_text = shown_text.replace(code, "")
    assert harmless(shown_text)


COMMANDS = [
    ["run", "{path}"],
    ["run", "{path}", "--saturation"],
    ["time", "{path}", "--explain", "--what-if"],
    ["check", "{path}", "--waits"],
    ["annotate", "{path}"],
    ["asm", "{path}", "-o", "{folder}/o.npo"],
    ["dis", "{folder}/o.npo"],
    ["annotate", "{folder}/o.npo"],
    ["report", "{path}", "-o", "{folder}/r.html"],
    ["run", "{path}\x1b[31m"],
    ["run", "{path}", "\x1b[31m"],
    ["run", "{path}", "--input", "x\x1b[31m=a"],
    ["time", "{path}", "--chip", "\u202eedge"],
    ["time", "{path}", "--set", "te.\x1b[31m=1"],
    ["chips", "{chip}"],
    ["manual", "\x1b[31m"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words[:3]).encode("unicode_escape").decode())
def test_nothing_foreign_reaches_a_terminal(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, chip = tmp_path / "p\x1b]0;x\x07\u202e.npu", tmp_path / "c.toml"
    name = '"\\u001b]0;x\\u0007\\u202e:x:[red]"'
    path.write_text(PROGRAM.format(name=name, comment="\x1b[31m \u202e", more=""))
    edge = (Path(__file__).parents[3] / "isa/chips/edge.toml").read_text()
    chip.write_text(edge.replace('about = "', 'about = "\\u001b[31m\\u202e'))
    if "o.npo" in command[1]:
        assert main(["asm", str(path), "-o", str(tmp_path / "o.npo")]) == 0
    # argparse leaves by an exception.
    with contextlib.suppress(SystemExit):
        main([word.format(path=path, folder=tmp_path, chip=chip) for word in command])
    captured = capsys.readouterr()
    assert captured.out + captured.err and harmless(captured.out + captured.err)
    if command[0] == "report":
        assert harmless((tmp_path / "r.html").read_text())


def test_errors_show_a_line_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.npu"
    path.write_text(PROGRAM.format(name='"a"', comment="", more='fill yy, value=1 ; \x1b[31m\ncopy "\x1b[2J", x'))
    assert main(["run", str(path)]) == 1
    shown = capsys.readouterr().err
    assert harmless(shown) and shown.count("fill yy, value=1") == 1 and "2 errors" in shown


class Broken(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    flush = write  # type: ignore[assignment]


def test_a_stream_that_takes_nothing() -> None:
    gone = Stream(Broken(BrokenPipeError(32, "Broken pipe")), "standard output")
    assert gone.write("x") == 1
    full = Stream(Broken(OSError(28, "No space left on device")), "standard output")
    for stream in (full, own(full)):
        with pytest.raises(RatelError, match="cannot write to standard output: No space left on device"):
            stream.write("x")
