"""Which names may stand in a message as they were written.

A name may be a secret that came to the wrong place: a line that lost its ``token:``, a token where the path of its
file should be. So only what has the shape of words is repeated.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

#: Instead of a key that may be a secret.
HIDDEN_KEY = "[a key that is not shown]"

#: Characters of a name that is shown, of a word in it, and of a word in it that holds digits.
_LONGEST, _LONGEST_WORD, _LONGEST_WITH_DIGITS = 64, 32, 14
#: Runs of letters of one case are no longer in any word that people write.
_LONGEST_RUN = 16
#: Digits of a whole name (a date has eight), and of a word that holds letters, too.
_MOST_DIGITS, _MOST_DIGITS_OF_WORD = 8, 4
#: Places in a whole name where letters meet digits inside a word: ``gpu-a100-80gb`` has two.
_MOST_JOINTS = 4
#: Words of so few characters may be anything: ``k8s``, ``e2e``.
_SHORT = 4
#: Parts of one word, as ``LossIsNaN`` has them, and what they are long on average if there are more.
_MOST_PARTS, _USUAL_PART = 4, 3

#: Parts of a path that a secret may look like.
_MOST_OF_TEXT = 2

#: Of patterns and paths, too. Brackets are those of what we write in place of a key.
_BETWEEN_WORDS = re.compile(r"[ ._\-/*?\[\]<>]+")


def is_plain(name: str) -> bool:
    """Whether ``name`` has the shape of words, as ``prod-eu``, ``gpu-a100-80gb``, ``ValLossTooHigh`` and ``val/*`` do.

    What is long, mixes cases and digits as tokens do, or holds other characters is not plain. The time does not depend
    on the length of ``name``.
    """
    return len(name) <= _LONGEST and _has_words(name)


@lru_cache(4096)
def _has_words(name: str) -> bool:
    digits = joints = 0
    for word in _BETWEEN_WORDS.split(name):
        parts = _parts(word)
        if parts is None or not _is_word(word, parts):
            return False
        digits += sum(map(len, filter(str.isdecimal, parts)))
        joints += sum(a.isdecimal() is not b.isdecimal() for a, b in pairwise(parts))
    return digits <= _MOST_DIGITS and joints <= _MOST_JOINTS


def _is_word(word: str, parts: list[str]) -> bool:
    if len(word) > _LONGEST_WORD or any(len(part) > _LONGEST_RUN for part in parts):
        return False
    digits = sum(map(len, filter(str.isdecimal, parts)))
    if not digits:
        return len(parts) <= _MOST_PARTS or (len(word) >= _USUAL_PART * len(parts) and min(map(len, parts)) > 1)
    if digits == len(word) or len(word) <= _SHORT:
        return True
    if len(word) > _LONGEST_WITH_DIGITS or digits > _MOST_DIGITS_OF_WORD:
        return False
    if len(parts) <= 2:
        return True
    most = _MOST_PARTS - (word in (word.lower(), word.upper()))  # capitals make parts
    return len(parts) <= most and len(word) >= _USUAL_PART * len(parts)


def _parts(word: str) -> list[str] | None:
    """``P95LatencyMs`` as P, 95, Latency, Ms; None when there is anything but letters and digits."""
    parts: list[str] = []
    for at, char in enumerate(word):
        before, after = word[at - 1 : at], word[at + 1 : at + 2]
        if not (char.isalpha() or char.isdecimal()):
            return None
        # In GPUMemory, M begins a part: the last of several capitals.
        begins = char.isupper() and (not before.isupper() or after.islower())
        if before and char.isdecimal() is before.isdecimal() and not begins:
            parts[-1] += char
        else:
            parts.append(char)
    return parts


def shown_key(name: str) -> str:
    """``name``, if it may be shown."""
    return name if is_plain(name) else HIDDEN_KEY


def shown_path(key: str) -> str:
    """A dotted key, without those of its parts that may be secrets."""
    return ".".join(map(shown_key, key.split(".")))


def is_shown_file(path: Path) -> bool:
    """Whether the path of a file may be shown: it is there, its directory is, or it has the shape of words.

    A directory at the top does not count: ``/`` may begin a secret in base64.
    """
    try:
        known = path.exists() or (len(path.parts) > _MOST_OF_TEXT and path.parent.is_dir())
    except (OSError, ValueError):
        known = False
    return known or all(map(is_plain, path.parts))
