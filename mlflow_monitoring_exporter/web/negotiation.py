"""What a client may be sent: Accept and Accept-Encoding (RFC 9110, 12.5), whatever is in them.

Headers come from strangers. What cannot be understood is left out, and a header of which nothing is left
counts as absent: a page never fails because of one. A format that is the best of several is sent even to a
client that wants none of them: it may find that better than an empty 406, and RFC 9110 allows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

#: A quoted string whole, an open one to the end, or what is none.
_PIECE = r'"(?:[^"\\]|\\.)*"?'
_ELEMENTS = re.compile(rf"(?:{_PIECE}|[^\",])+", re.DOTALL)
_PARAMETERS = re.compile(rf"(?:{_PIECE}|[^\";])+", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
#: Three digits at most, says the RFC; more do no harm.
_QUALITY = re.compile(r"0(\.[0-9]*)?|1(\.0*)?", re.ASCII)
#: What is behind this many elements is ignored; no real client sends as many.
_MOST = 100


@dataclass(frozen=True, slots=True)
class Wish:
    """One element of such a header. ``what`` and the names of ``parameters`` are in lower case."""

    what: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    quality: float = 1.0


def wishes(header: str) -> Iterator[Wish]:
    """What can be understood of a header, in its order."""
    for number, element in enumerate(_ELEMENTS.finditer(header)):
        if number == _MOST:
            return
        what, *rest = [part[0].strip() for part in _PARAMETERS.finditer(element[0])] or [""]
        parameters = dict(_parameter(part) for part in rest)
        quality = parameters.pop("q", "1")
        if what and _QUALITY.fullmatch(quality):
            yield Wish(what.lower(), parameters, float(quality))


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = (part.strip() for part in text.partition("="))
    if value.startswith('"'):
        value = _ESCAPED.sub(r"\1", value[1:].removesuffix('"'))
    return name.lower(), value


@dataclass(frozen=True, slots=True)
class Format:
    """A media type that can be sent, with the parameters that make it what it is."""

    type: str
    parameters: Mapping[str, str]

    def closeness(self, wish: Wish) -> int | None:
        """How exactly ``wish`` means this format; None when it means another."""
        main = self.type.partition("/")[0]
        if wish.what not in (self.type, f"{main}/*", "*/*"):
            return None
        asked = {name: value for name, value in wish.parameters.items() if name in self.parameters}
        if any(self.parameters[name].lower() != value.lower() for name, value in asked.items()):
            return None
        # Parameters are more exact than none; a type is more exact than any wildcard.
        return (10 * ("*/*", f"{main}/*", self.type).index(wish.what)) + len(asked)


def best(header: str, formats: Sequence[Format]) -> int:
    """Which of ``formats`` a client wants most; of those that it wants alike, the one that it named more exactly, then
    the first.
    """
    wanted = list(wishes(header))
    found = [_wanted(offered, wanted) for offered in formats]
    return max(range(len(formats)), key=lambda at: (found[at], -at))


def _wanted(offered: Format, wanted: Sequence[Wish]) -> tuple[float, int]:
    """How much, and how exactly; the closest wish counts, as in ``text/plain;q=0, */*``.

    What is not mentioned comes before what is refused.
    """
    close = [(closeness, wish.quality) for wish in wanted if (closeness := offered.closeness(wish)) is not None]
    if not close:
        return 0.0, -1
    nearest = max(closeness for closeness, _ in close)
    quality = max(quality for closeness, quality in close if closeness == nearest)
    return (quality, nearest) if quality > 0.0 else (-1.0, -1)


def takes_gzip(header: str) -> bool:
    """Whether a client takes gzip, and takes it at least as gladly as the text as it is."""
    qualities: dict[str, float] = {}
    for wish in wishes(header):
        qualities[wish.what] = max(wish.quality, qualities.get(wish.what, 0.0))
    others = qualities.get("*")
    named = [qualities[name] for name in ("gzip", "x-gzip") if name in qualities]
    squeezed = max(named) if named else others
    # Plain text may be sent unless that is refused; it has a rank only where it was given one.
    plain = qualities.get("identity", others if others == 0.0 else None)
    if squeezed is None:  # not named, as plain text is that is refused
        return plain == 0.0
    return squeezed > 0.0 and (plain is None or squeezed >= plain)
