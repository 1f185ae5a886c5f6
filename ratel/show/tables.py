"""Tables and lines on a terminal or in a file, and numbers in words: what all that is shown is made of."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ratel.show.terminal import escaped, own

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def console() -> Console:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Plain(Console):
        """Writes colours and lines of tables as they are, and all text as sys.stdout would."""

        def render_str(self, text: str, **how: Any) -> Text:
            """Return text laid out: escapes take their place in a column."""
            return super().render_str(escaped(text), **how)

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(escaped(segment.text), segment.style)

    # In a pipe or a file, lines are not broken to a terminal's width.
    width = None if sys.stdout.isatty() else max(120, shutil.get_terminal_size().columns)
    # Names and messages are plain text, whatever brackets and colons they hold: no markup.
    return Plain(file=own(sys.stdout), width=width, highlight=False, soft_wrap=True, markup=False, emoji=False)


def to_stderr(text: str) -> None:
    """Print an error, its first words in red on a terminal."""
    text = escaped(text.rstrip("\n"))
    if sys.stderr.isatty():
        text = text.replace("error", "\x1b[1;31merror\x1b[0m", 1)
    print(text, file=own(sys.stderr))


def table(title: str, columns: Sequence[tuple[str, str]]) -> Table:
    """Return a table with columns (heading, "left" or "right")."""
    from rich import box
    from rich.table import Table

    made = Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for heading, side in columns:
        made.add_column(heading, justify="right" if side == "right" else "left")
    return made


def styled(*parts: str | tuple[str, str]) -> Text:
    """Return text of plain parts and of (text, style)."""
    from rich.text import Text

    return Text.assemble(*(escaped(part) if isinstance(part, str) else (escaped(part[0]), part[1]) for part in parts))


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def significant(value: float) -> str:
    """Return a measured number to four figures, and large ones whole."""
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def number(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def print_markdown(text: str) -> None:
    """Print Markdown: laid out on a terminal, as it is elsewhere."""
    if not sys.stdout.isatty():
        print(text.rstrip("\n"))
        return
    from rich.markdown import Markdown

    console().print(Markdown(text))
