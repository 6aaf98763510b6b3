"""The documentation as tests read it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mlflow_monitoring_exporter.config.load import load_config
from mlflow_monitoring_exporter.config.schema import Config
from mlflow_monitoring_exporter.exporters.plugins import load_plugins

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PLUGINS = load_plugins()


def rows(text: str) -> dict[str, list[str]]:
    """The cells of each table row, by every name in back quotes of its first cell.

    Where a later cell lists as many values as there are names, each name has its own.
    """
    found = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            first, *cells = [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
            names = re.findall(r"`([^`]+)`", first)
            for at, name in enumerate(names):
                found[name] = [_own(cell, at, len(names)) for cell in cells]
    return found


def _own(cell: str, at: int, count: int) -> str:
    parts = cell.split(", ")
    return parts[at] if count > 1 and len(parts) == count else cell


def section(text: str, title: str) -> str:
    """What stands below the first heading that holds ``title``, up to the next of its level."""
    heading = next(line for line in re.findall(r"^#+ .*$", text, re.MULTILINE) if title in line)
    level = heading.split()[0]
    return re.split(rf"^#{{1,{len(level)}}} ", text.split(heading)[1], flags=re.MULTILINE)[0]


def fenced(language: str, text: str) -> list[str]:
    """Every fenced block of a language in one text."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def blocks(language: str) -> dict[str, str]:
    """Every fenced block of a language, by page and number."""
    return {
        f"{page.relative_to(ROOT)}#{number}": block
        for page in PAGES
        for number, block in enumerate(fenced(language, page.read_text()))
    }


def loaded(text: str, tmp_path: Path, **environ: str) -> Config:
    """``text`` as a configuration; files of secrets and certificates that it names are made."""
    file = tmp_path / "config.yaml"
    file.write_text(with_files(text, tmp_path))
    return load_config(file, exporter_types=PLUGINS.config_types, environ=environ)


def with_files(text: str, tmp_path: Path) -> str:
    for path in sorted(set(re.findall(r"/(?:run|etc)/[\w./-]+", text)), key=len, reverse=True):
        stand_in = tmp_path / path.strip("/").replace("/", "-")
        stand_in.write_text("secret")
        text = text.replace(path, str(stand_in))
    return text


def shape(value: Any) -> Any:
    """The keys of a tree; a list's shape is that of its first element."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else None
