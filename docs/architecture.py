"""Draw docs/architecture.svg, rooms and wings and who imports whom.

`python docs/architecture.py` writes it, `python docs/architecture.py --check` exits 1 when it is stale. Ranks are the
layers that import-linter holds (pyproject.toml), words the first line of each wing's docstring, arrows the imports. An
arrow that follows from others is left out, and so are imports that are for type checkers alone.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path

from isa.files import write_whole

HERE = Path(__file__).parent
ROOT = HERE.parent
PICTURE = HERE / "architecture.svg"
PUBLIC = "programs"  # above all rooms: it uses what users do

WIDTH, MARGIN, GAP, RANK_GAP, PADDING = 1180, 20, 22, 30, 12
TITLE, WORDS, FILES = 14, 12, 11.5  # sizes of fonts, in pixels
LINE = 1.36  # lines are so many sizes apart
BETWEEN = " \u00b7 "  # files of a wing
WIDE, MONOSPACED = 0.56, 0.62  # of the size, what a letter takes at most, about


@dataclass
class Box:
    """A wing, or the files of a layer that are in none. Modules are what it stands for in imports."""

    name: str
    words: str
    modules: list[str]
    files: list[str] = field(default_factory=list)
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0


# -- What there is ----------------------------------------------------------------------------------------------------


def modules() -> dict[str, Path]:
    """Return the files of all rooms by the names of their modules; a package is its `__init__`."""
    rooms = [name for row in room_layers() for name in row]
    paths = sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


@cache
def contracts() -> list[dict]:
    """Return the contracts of import-linter that are layers."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return [contract for contract in settings["tool"]["importlinter"]["contracts"] if contract["type"] == "layers"]


def room_layers() -> list[list[str]]:
    (rooms,) = [contract["layers"] for contract in contracts() if "containers" not in contract]
    top, *below = (re.findall(r"\w+", layer) for layer in rooms)
    return [[PUBLIC, *top], *below]


def wing_layers(room: str) -> list[list[str]]:
    """Return the layers of a room, each a list of wings and files; none where it is flat."""
    found = [contract["layers"] for contract in contracts() if contract.get("containers") == [room]]
    return [re.findall(r"\w+", layer) for layer in found[0]] if found else []


def words_of(path: Path) -> str:
    """Return a docstring's first paragraph, as one line."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].replace("`", "").split())


def files_of(folder: Path) -> list[str]:
    """Return the files of a wing, as its docstring names them: in the order in which data passes."""
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
    named = [word for word in dict.fromkeys(re.findall(r"`(\w+)`", text)) if (folder / f"{word}.py").exists()]
    there = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("__"))
    return named + [name for name in there if name not in named]


def boxes(room: str, names: dict[str, Path]) -> list[list[Box]]:
    """Return the boxes of a room, rank by rank; files of one rank that are in no wing share one box."""
    layers = wing_layers(room)
    if not layers:
        inside = [name for name in names if name == room or name.startswith(f"{room}.")]
        return [[Box("", words_of(names[room]), inside, [] if room == PUBLIC else files_of(ROOT / room))]]
    ranks = []
    for layer in layers:
        rank, loose = [], []
        for name in layer:
            module = f"{room}.{name}"
            if (ROOT / room / name).is_dir():
                inside = [one for one in names if one == module or one.startswith(f"{module}.")]
                rank.append(Box(name, words_of(names[module]), inside, files_of(ROOT / room / name)))
            elif module in names and not name.startswith("__"):
                loose.append(name)
        alone = [Box(name, words_of(names[f"{room}.{name}"]), [f"{room}.{name}"]) for name in loose]
        rank += alone if len(loose) < 2 else [Box("", "", [box.modules[0] for box in alone], loose)]
        if rank:
            ranks.append(rank)
    return ranks


def imports(names: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """Yield (importer, imported) of all modules, but for what only type checkers see."""
    for name, path in names.items():
        tree = ast.parse(path.read_text("utf-8"))
        hidden = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if id(node) in hidden:
                continue
            if isinstance(node, ast.Import):
                yield from ((name, alias.name) for alias in node.names if alias.name in names)
            elif isinstance(node, ast.ImportFrom) and node.module in names:
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from ((name, one if one in names else node.module) for one in inner)


def arrows(owner: dict[str, int], pairs: list[tuple[str, str]]) -> set[tuple[int, int]]:
    """Return who imports whom of the owners of modules, without what follows from the rest."""
    edges = {(owner[a], owner[b]) for a, b in pairs if a in owner and b in owner and owner[a] != owner[b]}
    below: dict[int, set[int]] = {}
    for a, b in edges:
        below.setdefault(a, set()).add(b)

    def reached(start: int) -> set[int]:
        found, waiting = set(), list(below.get(start, ()))
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting += below.get(node, ())
        return found

    beyond = {node: reached(node) for node in below}
    return {(a, b) for a, b in edges if not any(b in beyond.get(c, ()) for c in below[a] if c != b)}


# -- Where it stands --------------------------------------------------------------------------------------------------


def wrapped(words: list[str], width: float, letter: float, between: str = " ") -> list[str]:
    """Return words in lines that are no wider than `width`."""
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]}{between}{word}" if lines else word
        if lines and len(longer) * letter <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def lines_of(box: Box) -> tuple[list[str], list[str]]:
    inside = box.width - 2 * PADDING
    return (
        wrapped(box.words.split(), inside, WORDS * WIDE),
        wrapped(box.files, inside, FILES * MONOSPACED, BETWEEN),
    )


def text_height(box: Box) -> float:
    words, files = lines_of(box)
    title = TITLE * LINE if box.name else 0
    return title + (len(words) * WORDS + len(files) * FILES) * LINE + (5 if words and files else 0) + 2 * PADDING - 4


def place(ranks: list[list[Box]], x: float, y: float, width: float, gap: float = RANK_GAP) -> float:
    """Put boxes in rows from (x, y) on, as wide as they have words; return where the last row ends."""
    for rank in ranks:
        free = width - GAP * (len(rank) - 1)
        share = [max(6.0, (len(box.words) + 1.2 * len(BETWEEN.join(box.files))) ** 0.5) for box in rank]
        at = x
        for box, part in zip(rank, share):
            box.x, box.y, box.width = at, y, free * part / sum(share)
            at += box.width + GAP
        for box in rank:
            box.height = max(text_height(other) for other in rank)
        y += rank[0].height + gap
    return y - gap


# -- How it looks -----------------------------------------------------------------------------------------------------

LEGEND = "An arrow points at what is imported; one that follows from others is left out."
COLOURS = {"programs": "#8a8f98", "explore": "#5f7f2f", "ratel": "#8e6bbf", "compiler": "#b5536a", "assembler": "#3f9367", "emulator": "#3b7dc4", "isa": "#c08322"}
STYLE = """
text{font-family:system-ui,'Segoe UI','DejaVu Sans',sans-serif;fill:#3b4048}
.room{font-size:17px;font-weight:700}.wing{font-size:14px;font-weight:700}.words{font-size:12px}.end{text-anchor:end}
.file{font-family:ui-monospace,'DejaVu Sans Mono',monospace;font-size:11.5px;fill:#666d78;white-space:pre}
.page{fill:#fdfdfc}.box{fill:#fff;stroke-width:1.2}.floor{fill-opacity:.09;stroke-width:1.2;stroke-opacity:.45}
.arrow{fill:none;stroke:#7b828d;stroke-width:1.6}.head{fill:#7b828d}
@media (prefers-color-scheme:dark){text{fill:#d8dce2}.file{fill:#9aa2ae}.page{fill:#16191e}.box{fill:#1f242b}
.floor{fill-opacity:.16}.arrow{stroke:#8f97a3}.head{fill:#8f97a3}}
"""


def text(x: float, y: float, kind: str, words: str, colour: str = "") -> str:
    style = f' style="fill:{colour}"' if colour else ""
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}"{style}>{escape(words)}</text>'


def drawn(box: Box, colour: str) -> list[str]:
    parts = [
        f'<rect class="box" x="{box.x:.0f}" y="{box.y:.0f}" width="{box.width:.0f}" height="{box.height:.0f}" rx="7" '
        f'stroke="{colour}"/>'
    ]
    words, files = lines_of(box)
    y = box.y + PADDING - 4
    if box.name:
        y += TITLE * LINE
        parts.append(text(box.x + PADDING, y - 3, "wing", box.name, colour))
    for line in words:
        y += WORDS * LINE
        parts.append(text(box.x + PADDING, y - 3, "words", line))
    y += 5 if words and files else 0
    for line in files:
        y += FILES * LINE
        parts.append(text(box.x + PADDING, y - 3, "file", line))
    return parts


def arrow(points: list[tuple[float, float]]) -> str:
    """Return an arrow that leaves and arrives upright, and passes points between."""
    path = f"M{points[0][0]:.0f} {points[0][1]:.0f}"
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        middle = (y0 + y1) / 2
        path += f"C{x0:.0f} {middle:.0f} {x1:.0f} {middle:.0f} {x1:.0f} {y1:.0f}"
    x, y = points[-1]
    head = f'<path class="head" d="M{x:.0f} {y + 7:.0f}l-4.5 -8h9z"/>'
    return f'<path class="arrow" d="{path}"/>{head}'


def clamped(x: float, box: Box) -> float:
    return min(max(x, box.x + 14), box.x + box.width - 14)


def between(upper: Box, lower: Box) -> list[tuple[float, float]]:
    """Return where an arrow from a box to one in the next row begins and ends: upright where one is above the other."""
    left, right = max(upper.x, lower.x), min(upper.x + upper.width, lower.x + lower.width)
    middle = (left + right) / 2
    return [(clamped(middle, upper), upper.y + upper.height), (clamped(middle, lower), lower.y - 8)]


def through(upper: Box, passed: list[list[Box]], lower: Box) -> list[tuple[float, float]]:
    """Return the points of an arrow past rows of boxes, by the gap of each that is nearest to where it goes."""
    points: list[tuple[float, float]] = []
    for rank in passed:
        edges = [rank[0].x - GAP / 2, *(box.x + box.width + GAP / 2 for box in rank)]
        x = min(edges, key=lambda edge: (abs(edge - clamped(edge, lower)), abs(edge - clamped(edge, upper))))
        points += [(x, rank[0].y - 4), (x, rank[0].y + rank[0].height + 4)]
    start, end = clamped(points[0][0], upper), clamped(points[-1][0], lower)
    return [(start, upper.y + upper.height), *points, (end, lower.y - 8)]


def draw_room(name: str, ranks: list[list[Box]], pairs: list[tuple[str, str]]) -> list[str]:
    """Return the boxes of a room and the arrows between them."""
    flat = [(rank, box) for rank, row in enumerate(ranks) for box in row]
    owner = {module: k for k, (_, box) in enumerate(flat) for module in box.modules}
    parts = []
    for a, b in sorted(arrows(owner, pairs)):
        (above, upper), (below, lower) = flat[a], flat[b]
        assert above < below, f"{name}: {upper.name or upper.files} imports {lower.name or lower.files}, upwards"
        passed = ranks[above + 1 : below]
        parts.append(arrow(through(upper, passed, lower) if passed else between(upper, lower)))
    return parts + [line for _, box in flat for line in drawn(box, COLOURS[name])]


def picture() -> str:
    """Return the SVG."""
    names = modules()
    pairs = list(imports(names))
    rows = room_layers()
    rooms = [room for row in rows for room in row]
    floors, parts, y = {}, [], MARGIN
    for row in rows:
        # These have the most to show.
        free = WIDTH - 2 * MARGIN - GAP * (len(row) - 1)
        shares = {room: 2.0 if room in ("emulator", "explore") else 1.0 for room in row}
        x, bottom, placed = MARGIN, y, {}
        for room in row:
            width = free * shares[room] / sum(shares.values())
            ranks = boxes(room, names)
            end = place(ranks, x + PADDING, y + 34, width - 2 * PADDING)
            floors[room], placed[room] = Box(room, "", [], x=x, y=y, width=width), ranks
            x, bottom = x + width + GAP, max(bottom, end + PADDING)
        for room, ranks in placed.items():
            floor = floors[room]
            floor.height = bottom - y
            # A room with less to show than its neighbour takes as much height: its rows stand further apart.
            spare = bottom - PADDING - max(box.y + box.height for rank in ranks for box in rank)
            gap = RANK_GAP + spare / max(1, len(ranks) - 1)
            place(ranks, floor.x + PADDING, y + 34, floor.width - 2 * PADDING, gap)
            parts.append(
                f'<rect class="floor" x="{floor.x:.0f}" y="{y:.0f}" width="{floor.width:.0f}" '
                f'height="{floor.height:.0f}" rx="12" fill="{COLOURS[room]}" stroke="{COLOURS[room]}"/>'
            )
            parts.append(text(floor.x + PADDING, y + 23, "room", f"{room}/", COLOURS[room]))
            parts += draw_room(room, ranks, pairs)
        y = bottom + RANK_GAP
    owner = {module: rooms.index(module.partition(".")[0]) for module in names}
    for a, b in sorted(arrows(owner, pairs)):
        parts.append(arrow(between(floors[rooms[a]], floors[rooms[b]])))
    height = y - RANK_GAP + MARGIN
    top = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}">'
    parts.append(text(WIDTH - MARGIN - PADDING, MARGIN + 23, "words end", LEGEND))
    page = f'<rect class="page" width="{WIDTH}" height="{height:.0f}" rx="14"/>'
    title = "<title>The rooms of ratel and their wings; an arrow points at what is imported</title>"
    return "\n".join([top, title, f"<style>{STYLE}</style>", page, *parts, "</svg>\n"])


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        fresh = PICTURE.exists() and PICTURE.read_text("utf-8") == picture()
        print("fresh" if fresh else f"{PICTURE.name} is stale: draw it again, python docs/architecture.py")
        return 0 if fresh else 1
    write_whole(PICTURE, picture().encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
