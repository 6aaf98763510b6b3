"""The text of a YAML file as nodes, and the value of a scalar.

Whatever the text is, this takes bounded time and memory, and says what is wrong without repeating any of it: text that
YAML cannot read may well be a password that should have been in quotes.
"""

from __future__ import annotations

import binascii
import codecs
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import yaml

#: No honest configuration comes near any of these. A ConfigMap of Kubernetes ends at the same size.
MAX_BYTES = 1 << 20
MAX_NODES = 50_000
MAX_DEPTH = 50
#: Characters of all keys and values together, those that aliases, merges and variables bring included.
MAX_TEXT = 1 << 22
#: Characters of a key. Each is repeated in the path of whatever is below it.
MAX_KEY = 1000
#: Characters of a number; longer ones take quadratic time.
_MAX_DIGITS = 100
_INTEGERS = range(-(2**63), 2**63)

_TAGS = "tag:yaml.org,2002:"
MERGE = f"{_TAGS}merge"
MAPPING, SEQUENCE = f"{_TAGS}map", f"{_TAGS}seq"
#: What a key may look like: it is a word, whichever type YAML sees in it (``on``, ``1``, ``null``).
WORDS = frozenset(f"{_TAGS}{name}" for name in ("str", "int", "float", "bool", "null", "value", "merge"))
_NUMBERS = {
    f"{_TAGS}int": re.compile(
        r"^(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+)$",
    ),
    f"{_TAGS}float": re.compile(
        r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
    ),
}
_TIMESTAMP = yaml.SafeLoader.timestamp_regexp

#: The beginning of what PyYAML says, and the same without the text that it repeats, with advice.
_SAID = (
    ("found undefined alias", "an alias (*name) without its anchor; text that begins with * belongs in quotes"),
    ("second occurrence", "an anchor (&name) that is there twice; text that begins with & belongs in quotes"),
    ("found undefined tag handle", "an unknown tag; text that begins with ! belongs in quotes"),
    ("but found another document", "several documents (---), of which only one can be meant"),
    ("found character '\\t'", "a tab where only spaces may indent"),
    ("found character", "a character that no value begins with; such text belongs in quotes"),
    ("found unknown escape character", "an unknown escape sequence (\\) in double quotes; single quotes know none"),
    ("found duplicate", "a directive (%) that is there twice"),
    ("expected ' '", "a character that no tag (!) can have; text that begins with ! belongs in quotes"),
    ("expected <block end>", "something that does not fit the lines above: indentation, or text without its quotes"),
    ("expected the node content", "no value where one must be"),
    ("expected", "a character that does not fit here; text with special characters belongs in quotes"),
    ("mapping values are not allowed", "a colon where no key can be; text with a colon belongs in quotes"),
)


class TooMuchError(yaml.YAMLError):
    """The file exceeds a bound; the text says which. ``line`` counts from 1."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class Loader(yaml.SafeLoader):
    """YAML 1.1 without dates and without numbers to the base 60: ``2026-01-01`` and ``1:30`` stay text.

    So they are in the environment, and what ``80:80`` means should not depend on its size.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        #: Ids of the scalar nodes whose type was written.
        self.tagged: set[int] = set()
        self._depth = 0
        self._count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        self._count += 1
        if self._count > MAX_NODES:
            raise TooMuchError(f"holds too many values: more than {MAX_NODES}", line)
        if self._depth >= MAX_DEPTH:
            raise TooMuchError(f"is nested too deeply: more than {MAX_DEPTH} levels", line)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        node = super().compose_scalar_node(anchor)
        if event.tag is not None:
            self.tagged.add(id(node))
        return node

    def typed(self, tag: str, text: str) -> Any:
        """The value of a scalar. Raises ValueError, which repeats nothing of it."""
        if tag in (f"{_TAGS}str", f"{_TAGS}value", MERGE):
            return text
        if tag in _NUMBERS:
            return self._number(tag, text)
        if tag in (f"{_TAGS}bool", f"{_TAGS}null"):
            return self._word(tag, text)
        if tag == f"{_TAGS}timestamp":
            if _TIMESTAMP.match(text) is None:
                raise ValueError("is not a date")
            return text
        if tag == f"{_TAGS}binary":
            return _unpacked(text)
        raise ValueError("has a tag (!) that means nothing here; text that begins with ! belongs in quotes")

    def _number(self, tag: str, text: str) -> int | float:
        what = "is not a number; text belongs in quotes"
        if len(text) > _MAX_DIGITS:
            raise ValueError("is too long for a number; text belongs in quotes")
        node = yaml.ScalarNode(tag, text)
        try:
            if tag.endswith("float"):
                return self.construct_yaml_float(node)
            number = self.construct_yaml_int(node)
        except (ValueError, LookupError, OverflowError):
            raise ValueError(what) from None
        if number not in _INTEGERS:
            raise ValueError("is too large a number; text belongs in quotes")
        return number

    def _word(self, tag: str, text: str) -> bool | None:
        resolved = self.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        if resolved != tag:
            raise ValueError("is not true or false" if tag.endswith("bool") else "is not null")
        return self.construct_yaml_bool(yaml.ScalarNode(tag, text)) if tag.endswith("bool") else None


Loader.yaml_implicit_resolvers = {
    first: [(tag, _NUMBERS.get(tag, pattern)) for tag, pattern in resolvers if tag != f"{_TAGS}timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _unpacked(text: str) -> str:
    """Text from base64."""
    try:
        return b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, ValueError):
        raise ValueError("is not base64 of UTF-8 text") from None


def read_text(path: Path) -> str:
    """The text of a file, as UTF-8, or as UTF-16 with a byte order mark. Raises ValueError: why there is none."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path that cannot be one
        raise ValueError(
            f"cannot read the configuration: {getattr(error, 'strerror', None) or 'no such path'}"
        ) from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"cannot read the configuration: is larger than {MAX_BYTES} bytes")
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8")
    except UnicodeDecodeError:
        raise ValueError("cannot read the configuration: is not UTF-8 text") from None


def explain(error: yaml.YAMLError, text: str) -> tuple[int | None, str]:
    """The line of a mistake, and what it is."""
    if isinstance(error, TooMuchError):
        return error.line, str(error)
    if isinstance(error, yaml.reader.ReaderError):
        return text.count("\n", 0, error.position) + 1, "YAML syntax: a character that YAML forbids, such as NUL"
    mark = getattr(error, "problem_mark", None)
    said = str(getattr(error, "problem", None) or getattr(error, "context", None) or "it cannot be read")
    for beginning, ours in _SAID:
        if said.startswith(beginning):
            said = ours
            break
    else:
        # Whatever PyYAML repeats stands in quotes, at the end.
        said = re.split(r"['\"]", said, maxsplit=1)[0].strip() or "it cannot be read"
    return (mark.line + 1 if mark else None), f"YAML syntax: {said}"
