"""What MLflow takes as a key, a value and a number."""

from __future__ import annotations

import hashlib
import math
import re
from posixpath import normpath

#: Lengths in characters that MLflow 3 takes; it cuts longer values of parameters without a word.
LONGEST_KEY = 250
LONGEST_PARAM = 6000
LONGEST_TAG = 8000
#: Before an encoded key, in a tag whose value is the key as it was logged.
ORIGINAL_TAG = "tracking.key."
_DIGEST = 8
_REFUSED = re.compile(r"[^\w.\- /:]")


def encoded(key: str) -> str:
    """The key, or one that MLflow takes in its place: refused characters become ``_``, with a hash of the whole."""
    if key and len(key) <= LONGEST_KEY and not _REFUSED.search(key) and _is_plain_path(key):
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    plain = "/".join(part for part in _REFUSED.sub("_", key).split("/") if part.strip("."))
    return f"{plain[: LONGEST_KEY - _DIGEST - len(ORIGINAL_TAG) - 1]}_{digest}"


def number(value: float) -> float | str:
    """A float as MLflow's JSON takes it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _is_plain_path(key: str) -> bool:
    """MLflow's own test: a key is a path that stays what it is, below where it begins."""
    return normpath(key) == key and not key.startswith(("/", ".."))
