"""Header lines of an operator's: they often carry a key, so all of them count as secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, SecretStr, WithJsonSchema

_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:([\x20-\x7e\t]*)")
#: No server takes so many. Each is searched for in all that is printed.
_MOST = 1000
#: What the name of a header looks like, and a key does not.
_PLAIN_NAME = re.compile(r"[A-Z][A-Za-z]*(-[A-Z][A-Za-z]{0,15}){1,4}")


def parse_headers(text: str) -> dict[str, str]:
    """``Name: value`` lines as a mapping; empty lines and lines that begin with ``#`` are nothing.

    Raises ValueError, which repeats no value, for a line that HTTP cannot carry (RFC 9110, 5.1 and 5.5).
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise ValueError(f"line {number} is not a header: write Name: value, in printable ASCII")
        found[match[1]] = match[2].strip()
        if len(found) > _MOST:
            raise ValueError(f"holds too many headers: more than {_MOST}")
    return found


def _join(value: Any) -> Any:
    """YAML's way of saying it, a mapping, as lines."""
    if not isinstance(value, Mapping):
        return value
    for number, (name, text) in enumerate(value.items(), 1):
        if not isinstance(text, str | int) or isinstance(text, bool) or "\n" in str(text):
            # A secret that lost its colon is a name, too.
            said = name if _PLAIN_NAME.fullmatch(str(name)) else f"header {number}"
            raise ValueError(f"the value of {said} must be one line of text")
    return "\n".join(f"{name}: {text}" for name, text in value.items())


def _check(value: SecretStr) -> SecretStr:
    parse_headers(value.get_secret_value())
    return value


Headers = Annotated[
    SecretStr,
    BeforeValidator(_join),
    AfterValidator(_check),
    WithJsonSchema({"anyOf": [{"type": "object", "additionalProperties": {"type": "string"}}, {"type": "string"}]}),
]
"""Headers as a mapping, or as lines of ``Name: value``."""
