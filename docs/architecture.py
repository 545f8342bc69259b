"""Draw docs/architecture.svg, and write what docs/architecture.md says of folders and of ways through the files.

    python docs/architecture.py

The picture shows what each folder imports, and which commands pass through which file. Imports and sentences are
read from the code, the ways from benchmarks/results/paths.json, which `python -m benchmarks.paths` writes.
"""

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROWS = (("studies", "training"), ("indexer",), ("engine",))
COLOURS = {
    "query": "#0072b2",
    "index": "#e69f00",
    "train": "#009e73",
    "evaluate": "#d55e00",
    "reindex": "#cc79a7",
}
WIDTH, LINE, GAP = 138, 15, 20
"""Pixels: a box, a line of it, the room between boxes."""
HEAD = 50
"""Pixels: the title of a layer."""


@dataclass(frozen=True)
class Box:
    """A folder's files, and where they are drawn: the upper left corner, in pixels."""

    folder: str
    files: tuple[str, ...]
    x: int
    y: int

    @property
    def bottom(self) -> int:
        return self.y + LINE * (len(self.files) + 1) + 10


def main() -> None:
    """Write picture and page beside this file."""
    (ROOT / "docs/architecture.svg").write_text(draw(), encoding="utf-8")
    page = ROOT / "docs/architecture.md"
    page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")


def renewed(page: str) -> str:
    """Return the page with what stands between its marks as the code now has it."""
    parts = {"folders": sentences(), "counts": counts()}
    parts |= {name: outline(hops) for name, hops in traced().items()}
    for name, lines in parts.items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = page.partition(start)
        page = before + start + "\n".join([*lines, end]) + rest.partition(end)[2]
    return page


def traced() -> dict[str, dict[str, tuple[str, str]]]:
    """Return for each command the files it touches, each with `file function` that led there and the function."""
    return {row["command"]: row["hops"] for row in measured()}


def measured() -> list[dict[str, Any]]:
    """Return what was traced of each command."""
    rows: list[dict[str, Any]] = json.loads((ROOT / "benchmarks/results/paths.json").read_bytes())["rows"]
    return rows


def counts() -> Iterator[str]:
    """Yield the table of how many files each command leads through and touches."""
    yield from ("| command | files on the way | touched |", "| --- | --- | --- |")
    for row in measured():
        yield f"| `{row['command']}` | {row['on the way']} | {row['touched']} |"


def sentences() -> Iterator[str]:
    """Yield the table of folders, each with the sentence of its __init__."""
    yield from ("| folder | |", "| --- | --- |")
    for layer in ("engine", "indexer", "training", "studies"):
        for folder in [layer, *sorted(needs_below(layer))]:
            yield f"| `{folder}/` | {sentence(folder)} |"


def sentence(folder: str) -> str:
    """Return what a folder owns."""
    return ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text(encoding="utf-8"))) or ""


def outline(hops: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """Yield every file of a way once, below the one that first led there: `function -> file function`."""

    def below(file: str, depth: int) -> Iterator[str]:
        for other, (origin, function) in hops.items():
            caller, _, through = origin.partition(" ")
            if caller == file:
                yield f"{'  ' * depth}{through} -> {other} {function}"
                yield from below(other, depth + 1)

    yield from ("```", "cli.py", *below("cli.py", 1), "```")


def draw() -> str:
    """Return the picture."""
    ways = {command: frozenset(hops) for command, hops in traced().items()}
    front = Box("", ("cli.py", "mneme.py"), GAP, GAP)
    parts, top, widest = [*drawn(front, ways), *legend(ways)], front.bottom + GAP, 0
    for row in ROWS:
        layers, x = {}, GAP
        for layer in row:
            layers[layer] = list(placed(layer, x, top + HEAD))
            x = right_of(layers[layer]) + GAP
        bottom = max(box.bottom for boxes in layers.values() for box in boxes) + GAP // 2
        for layer, boxes in layers.items():
            parts += [
                rectangle((boxes[0].x - GAP // 2, top, right_of(boxes), bottom), "#eef2f5"),
                *titled(layer, boxes[0].x, top),
            ]
            parts += [*arrows(boxes), *(part for box in boxes for part in drawn(box, ways))]
        top, widest = bottom + GAP // 2, max(widest, x - GAP // 2)
    size = f'width="{widest}" height="{top}" viewBox="0 0 {widest} {top}"'
    font = 'font-family="Helvetica, Arial, sans-serif" font-size="11" fill="#222"'
    first = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>'
    return "\n".join([first, rectangle((0, 0, widest, top), "#fff"), *parts, "</svg>", ""])


def placed(layer: str, x: int, top: int) -> Iterator[Box]:
    """Yield the boxes of a layer: who imports stands left of what it imports, the layer's own files at the right."""
    needs = needs_below(layer)
    columns: list[list[str]] = []
    while left := set(needs).difference(*columns):
        columns.append(sorted(left - {other for folder in left for other in needs[folder]}))
        if not columns[-1]:
            raise ValueError(f"imports go round in a circle among {', '.join(sorted(left))}")
    for column in [*columns, [layer]]:
        y = top
        for folder in column:
            if names := tuple(sorted(file.name for file in (ROOT / folder).glob("*.py") if speaks(file))):
                box = Box(folder, names, x, y)
                yield box
                y = box.bottom + GAP // 2
        x += WIDTH + GAP


def right_of(boxes: list[Box]) -> int:
    """Return where the ground of a layer ends."""
    return max(box.x for box in boxes) + WIDTH + GAP // 2


def speaks(file: Path) -> bool:
    """Say whether a file is worth a line: every one but an __init__ that only says what its folder owns."""
    return file.name != "__init__.py" or len(ast.parse(file.read_text(encoding="utf-8")).body) > 1


def needs_below(layer: str) -> dict[str, set[str]]:
    """Return which other folders of its layer each folder imports."""
    folders = sorted(str(file.parent.relative_to(ROOT)) for file in (ROOT / layer).glob("*/**/__init__.py"))
    return {
        folder: {folder_of(name) for name in imported(folder)} & {*folders} - {folder} for folder in folders
    }


@cache
def imported(folder: str) -> frozenset[str]:
    """Return the modules that the files of a folder import, as paths; also what may be a name within a module."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / folder).glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return frozenset(
        f"{node.module}.{alias.name}".replace(".", "/") for node in nodes for alias in node.names
    )


def folder_of(path: str) -> str:
    """Return the folder of a module, or of a name within one."""
    while not (ROOT / path).is_dir():
        path = path.rpartition("/")[0]
    return path


def arrows(boxes: list[Box]) -> Iterator[str]:
    """Draw which folder imports which; what two arrows in a row say already is left out."""
    places = {box.folder: box for box in boxes}
    needs = needs_below(boxes[0].folder.partition("/")[0])
    for folder, others in needs.items():
        for other in sorted(others - {far for near in others for far in reached(near, needs)}):
            start, end = places[folder], places[other]
            x, y, u, v = start.x + WIDTH, start.y + 12, end.x, end.y + 12
            yield f'<path d="M{x} {y}C{x + GAP} {y} {u - GAP} {v} {u - 5} {v}" fill="none" stroke="#678"/>'
            yield f'<path d="M{u} {v}l-6 -3v6z" fill="#678"/>'


def reached(folder: str, needs: Mapping[str, set[str]]) -> set[str]:
    """Return all that a folder imports, at first hand or further on."""
    return needs[folder].union(*(reached(other, needs) for other in needs[folder]))


def drawn(box: Box, ways: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Draw a folder: its files, each with a dot for every command that passes through it."""
    yield rectangle((box.x, box.y, box.x + WIDTH, box.bottom), "#fff", "#678")
    title = f"{box.folder.rpartition('/')[2]}/" if box.folder else "mneme"
    yield f'<text x="{box.x + 6}" y="{box.y + 15}" font-weight="bold">{title}</text>'
    for number, name in enumerate(box.files, 2):
        y = box.y + LINE * number
        yield f'<text x="{box.x + 6}" y="{y}">{name.removesuffix(".py")}</text>'
        for place, (command, files) in enumerate(ways.items()):
            if f"{box.folder}/{name}".lstrip("/") in files:
                yield dot(box.x + WIDTH - 42 + 8 * place, y - 4, command)


def legend(ways: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Say whose dots are whose, and on how many files."""
    for number, (command, files) in enumerate(ways.items()):
        x = 2 * GAP + WIDTH + 110 * number
        yield dot(x, 2 * GAP - 4, command)
        yield f'<text x="{x + 8}" y="{2 * GAP}">{command}: {len(files)} files</text>'


def titled(layer: str, x: int, top: int) -> Iterator[str]:
    """Say what a layer owns, and which others it imports."""
    folders = [
        layer,
        *(str(file.parent.relative_to(ROOT)) for file in (ROOT / layer).glob("*/**/__init__.py")),
    ]
    names = {name.partition("/")[0] for folder in folders for name in imported(folder)}
    others = ", ".join(other for row in ROWS for other in row if other in names - {layer})
    bold, imports = f'<tspan font-weight="bold">{layer}/</tspan>', f"imports {others or 'none of the others'}"
    yield f'<text x="{x}" y="{top + 18}" font-size="13">{bold} {escape(sentence(layer))}</text>'
    yield f'<text x="{x}" y="{top + 36}">{imports}</text>'


def rectangle(corners: tuple[int, int, int, int], fill: str, stroke: str = "none") -> str:
    """Return a rectangle of these left, upper, right and lower edges, with round corners."""
    left, top, right, bottom = corners
    place = f'x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" rx="4"'
    return f'<rect {place} fill="{fill}" stroke="{stroke}"/>'


def dot(x: int, y: int, command: str) -> str:
    """Return a command's dot."""
    return f'<circle cx="{x}" cy="{y}" r="3" fill="{COLOURS[command]}"/>'


if __name__ == "__main__":
    main()
