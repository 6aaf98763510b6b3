"""Texts of MLflow are as long as their authors like; those of labels are not.

One value that is longer than a scrape's ``label_value_length_limit`` makes Prometheus refuse the whole scrape, and
other platforms refuse the sample, or cut it so that two that begin alike become one.
"""

from __future__ import annotations

from hashlib import blake2b

#: Bytes of a value, for what receives samples: what Mimir takes by default, and less than others do.
OF_SAMPLES = 2048
#: Hexadecimal digits of a hash.
_DIGITS = 8
#: Texts that are remembered.
_MANY = 1 << 17


def shortened(text: str, longest: int, *, mark: str = "…") -> str:
    """``text`` in at most ``longest`` bytes of UTF-8, which are at least 16.

    A longer one is cut between two characters, and ends in ``mark`` and a hash of the whole, so that texts which
    differ still do.
    """
    if len(text) * 4 <= longest or len(encoded := text.encode()) <= longest:
        return text
    digest = blake2b(encoded, digest_size=_DIGITS // 2).hexdigest()
    head = encoded[: longest - len(mark.encode()) - _DIGITS].decode(errors="ignore")
    return f"{head}{mark}{digest}"


class Lengths(dict[str, str]):
    """Texts as they are shown, each made once: ``lengths[text]``. ``originals`` has those that were shortened."""

    def __init__(self, longest: int) -> None:
        super().__init__()
        self._longest = longest
        self.originals: dict[str, str] = {}

    def __missing__(self, text: str) -> str:
        shown = shortened(text, self._longest)
        if shown != text:
            self.originals[shown] = text
        self[text] = shown
        return shown

    def tidy(self) -> None:
        """Begin anew when there are many, of which most may be gone."""
        if len(self) > _MANY:
            self.clear()
            self.originals = {}
