"""Draws docs/rooms.svg: which room imports which, from the imports themselves. ``python -m docs.rooms``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs/rooms.svg"
PACKAGE = "mlflow_monitoring_exporter"

_CELL, _LEFT, _TOP = 26, 112, 92
_SAYS = "A row imports the columns with a square. None points back."
_FONT = 'font-family="system-ui, sans-serif" font-size="14" role="img"'
_STYLE = (
    "text { fill: #1f2328 } .room { font-weight: 600 } .small { font-size: 12.5px; fill: #57606a }"
    " .grid { stroke: #d0d7de; stroke-width: 1 } .self { fill: #d0d7de } .import { fill: #0969da }"
    " .back { fill: #cf222e } .page { fill: #fff }"
    " @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .small { fill: #9198a1 } .page { fill: #0d1117 }"
    " .grid { stroke: #30363d } .self { fill: #30363d } .import { fill: #4493f8 } .back { fill: #f85149 } }"
)


def rooms() -> list[str]:
    """The rooms in the order in which imports may point, as ``[tool.importlinter]`` has it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "flow")
    return [room.strip() for layer in layers for room in layer.split("|")]


def imports() -> set[tuple[str, str]]:
    """``(room, room that it imports)``."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    pairs = {
        (_room(module), _room(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }
    return {(room, imported) for room, imported in pairs if room != imported and room and imported}


def _room(module: str) -> str:
    """Nothing for the package itself and ``__main__``."""
    room = module.removeprefix(PACKAGE).lstrip(".").partition(".")[0]
    return "" if room.startswith("__") else room


def picture(order: Sequence[str], found: set[tuple[str, str]]) -> str:
    """An SVG: a row imports the columns that have a square in it; one below the diagonal would point back."""
    size = len(order) * _CELL
    width, height = _LEFT + size + 20, _TOP + size + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {_FONT} aria-label="{_SAYS}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" rx="10" class="page"/>',
        *_labels(order),
        *_squares(order, found),
        f'<text class="small" x="{_LEFT}" y="{_TOP + size + 26}">{_SAYS}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _labels(order: Sequence[str]) -> Iterator[str]:
    for place, room in enumerate(order):
        middle = place * _CELL + _CELL // 2
        x, y = _LEFT + middle + 5, _TOP - 8
        yield f'<text class="room" x="{_LEFT - 10}" y="{_TOP + middle + 5}" text-anchor="end">{room}</text>'
        yield f'<text x="{x}" y="{y}" transform="rotate(-60 {x} {y})">{room}</text>'


def _squares(order: Sequence[str], found: set[tuple[str, str]]) -> Iterator[str]:
    size = len(order) * _CELL
    for line in range(len(order) + 1):
        at = line * _CELL
        yield f'<path class="grid" d="M{_LEFT} {_TOP + at}h{size}M{_LEFT + at} {_TOP}v{size}"/>'
    for row, room in enumerate(order):
        for column, imported in enumerate(order):
            if row != column and (room, imported) not in found:
                continue
            kind = "self" if row == column else "import" if row < column else "back"
            x, y = _LEFT + column * _CELL + 5, _TOP + row * _CELL + 5
            yield f'<rect class="{kind}" x="{x}" y="{y}" width="{_CELL - 10}" height="{_CELL - 10}" rx="3"/>'


if __name__ == "__main__":
    PICTURE.write_text(picture(rooms(), imports()))
