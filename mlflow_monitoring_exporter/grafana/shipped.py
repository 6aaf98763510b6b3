"""The dashboards that come with the package: grafana/dashboards of the repository."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_INSTALLED = Path(__file__).parent / "dashboards"
#: Where they are in a clone, of which an editable installation is.
_CLONE = Path(__file__).parents[2] / "grafana" / "dashboards"


def dashboards() -> Mapping[str, Any]:
    """Each dashboard in Grafana's JSON model, by the name of its file without ``.json``, sorted."""
    directory = _INSTALLED if _INSTALLED.is_dir() else _CLONE
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*.json"))}


def to_text(dashboard: Any) -> str:
    """As it stands in its file."""
    return json.dumps(dashboard, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
