"""JSON as servers write it, which is not always as it should be."""

from __future__ import annotations

import json
from typing import Any

import orjson

#: Of the longest integer that is read exactly.
_DIGITS = 30
_BOM = b"\xef\xbb\xbf"


def parsed(body: bytes) -> Any:
    """What ``body`` says. Raises ValueError when it is no JSON, or is deeper than anybody means.

    orjson refuses what other parsers take: a byte order mark, bare NaN, halves of characters, control characters in
    texts, bytes that are no UTF-8 (they become lone surrogates) and integers of thousands of digits (floats).
    """
    try:
        return orjson.loads(body)
    except ValueError:
        text = body.removeprefix(_BOM).decode("utf-8", "surrogateescape")
    try:
        return json.loads(text, parse_int=_integer, strict=False)
    except RecursionError:
        raise ValueError("it is too deep") from None


def _integer(digits: str) -> int | float:
    """Python refuses to read integers of thousands of digits; no more than 19 are ever meant."""
    return int(digits) if len(digits) <= _DIGITS else float(digits)
