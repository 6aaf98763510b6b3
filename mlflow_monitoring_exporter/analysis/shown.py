"""Results as a notebook shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any


def table(rows: Iterable[Mapping[str, Any]], caption: str = "") -> str:
    """Rows of equal columns as an HTML table; nothing for no rows."""
    found = list(rows)
    if not found:
        return ""
    head = "".join(f"<th>{escape(str(key))}</th>" for key in found[0])
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row.values()) + "</tr>" for row in found)
    named = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{named}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else escape(str(value))
