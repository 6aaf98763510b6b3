"""Has anything become slower? Ratios of a quick run against those that are kept in the repository."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_KEPT = Path(__file__).with_name("ratios.json")
#: How many times as large a ratio may be, and in how many seconds of a difference no machine is to be trusted.
_WORSE = 1.5
_NOISE = 0.05

Ratios = dict[str, dict[str, float]]


def keep(results: Iterable[Mapping[str, Any]]) -> None:
    """From now on these count, for what was measured; of others what was kept before."""
    kept = _read() | {
        result["title"]: {name: round(r["ratio"], 3) for name, r in result["results"].items()} for result in results
    }
    _KEPT.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


def slower(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is slower, in words; what was never kept is not."""
    kept = _read()
    found = []
    for result in results:
        base = result["results"][result["yardstick"]]["wall"]
        for name, measured in result["results"].items():
            before = kept.get(result["title"], {}).get(name)
            if before is None or measured["ratio"] <= _WORSE * before:
                continue
            if measured["wall"] - before * base > _NOISE:
                found.append(f"  {result['title']}: {name}: {measured['ratio']:.2f}, was {before:.2f}")
    return found


def _read() -> Ratios:
    ratios: Ratios = json.loads(_KEPT.read_text()) if _KEPT.exists() else {}
    return ratios
