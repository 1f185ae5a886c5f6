"""Draw the README's picture, the terminal after `ratel run`, as SVG: python docs/pictures.py."""

import io
import re
from pathlib import Path

from rich.console import Console

from isa.files import write_whole
from ratel.cli.main import main
from ratel.show import runs

HERE = Path(__file__).parent
PICTURES = {"run_digits": "programs/digits/digits.npu"}


def draw(name: str, program: str) -> None:
    """Write docs/NAME.svg with what `ratel run PROGRAM` prints."""
    recorder = Console(record=True, width=112, file=io.StringIO(), force_terminal=True, highlight=False, markup=False)
    runs.console = lambda: recorder
    assert main(["run", program]) == 0
    svg = recorder.export_svg(title=f"ratel run {program}", unique_id=name)
    # The picture loads nothing: the reader's own monospaced font will do.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code", "ui-monospace")
    write_whole(HERE / f"{name}.svg", svg.encode())


if __name__ == "__main__":
    for picture, of_program in PICTURES.items():
        draw(picture, of_program)
