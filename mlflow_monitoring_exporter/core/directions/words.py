"""What do the words of a key say?

::

    val/RMSE_mean     words: val, rmse, mean        the last that says something decides: less is better
    tokens/s          a throughput                  what is done in a time is better when it is more
    neg_log_loss      negated                       the other way round
    loss/std          a spread, a count             nothing
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import dropwhile

from mlflow_monitoring_exporter.core.directions.qualifiers import (
    falls_by,
    folded,
    is_split,
    removed,
    says_nothing,
    spelled,
)
from mlflow_monitoring_exporter.core.directions.vocabulary import (
    ALONE_FALLING,
    ALONE_RISING,
    AVERAGED,
    CLASSES,
    COUNTS,
    FALLING,
    FAULTS,
    MADE_LOSSES,
    MONEY,
    NEGATED,
    NEUTRAL,
    NOT,
    OF_A_CLASS,
    PER,
    PREPOSITIONS,
    RESOURCES,
    RISING,
    SILENT,
    SPREADS,
    TARGETS,
    TURNED,
    UNITS,
)

_SYSTEM = "system/"
_SPLITS = ("training", "train", "validation", "valid", "val", "test", "eval", "dev", "mean", "macro", "micro", "avg")
_LETTERS = frozenset("mnrsw")
_AFTER_LETTER = frozenset(
    ("rmse", "mape", "mae", "mse", "iou", "dice", "auc", "error", "logloss", "accuracy", "acc", "recall", "precision")
) | {"aucpr", "f1"}
_TIMED = frozenset(
    ("run", "wall", "cpu", "gpu", "step", "train", "fit", "infer", "inference", "epoch", "iter", "batch", "load")
) | {"response", "wait", "queue", "elapsed"}
_ENDS = ("accuracy", "entropy", "latency", "loss", "error", "score", "rate", "ratio")
_PHRASES = FALLING | RISING | SILENT
#: By their last word the lengths of phrases, the longest first.
_LENGTHS: dict[str, list[int]] = {}
for _last, _length in {(words[-1], len(words)) for words in map(str.split, _PHRASES)}:
    _LENGTHS[_last] = sorted([*_LENGTHS.get(_last, []), _length], reverse=True)
_KNOWN = frozenset(
    word
    for words in (_PHRASES, FAULTS, SPREADS, ALONE_FALLING, ALONE_RISING, NEUTRAL, PER, MONEY, COUNTS, NEGATED)
    for entry in words | CLASSES | NOT | TURNED | PREPOSITIONS
    for word in entry.split()
) | {"score", "ci"}
#: Phrases with a preposition inside are looked for before prepositions part a key.
_WHOLE: dict[str, bool | None] = {
    entry: None if entry in SILENT else entry in RISING for entry in _PHRASES if set(entry.split()[1:]) & PREPOSITIONS
} | {f"{letter} at": True for letter in ("r", "p", "ar", "pre")}
_WHOLE |= {f"rank {split}": False for split in _SPLITS}
_BEGIN = {word: [e.split() for e in _WHOLE if e.split()[0] == word] for word in {e.split()[0] for e in _WHOLE}}
_DIRECTED = FALLING | RISING
_UNITS_ABOVE = UNITS | MONEY | {"s"}
_POSITIONS = frozenset(("epoch", "step", "iteration", "iter", "round", "index", "idx"))
_ALONE = ALONE_FALLING | ALONE_RISING

_CHUNK = re.compile(r"[^\W_]+|@|\^|%")
#: ``3d`` is one word, of three dimensions; no loss of a discriminator.
_CAMEL = re.compile(r"\d[dD](?![a-z])|[A-Z]+(?![a-z])\d*|[^\W\d_][a-z]*\d*|\d+")
_COMPLEMENT = re.compile(r"(^|/)\s*(?:1\s*-\s*|1\s+minus\s+|1_minus_|one[_ -]?minus[_ -]?)(?=[A-Za-z])", re.IGNORECASE)
_SECONDS_PER = re.compile(
    r"\b(m?s|m?secs?|seconds?)/(it|iter|step|epoch|batch|token|sample|call|request|frame)(?=\)?$)", re.IGNORECASE
)
_PER_SECOND = re.compile(r"/(s|sec|second|min|minute|h|hr|hour|day)(?=\)?$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sense:
    """``rises``: whether values that rise get better, None where words do not say; ``why``: what decided."""

    rises: bool | None
    why: str
    resource: bool = False


@dataclass(frozen=True, slots=True)
class _Hit:
    """Words ``first`` to ``last`` are an entry that decides; ``rises`` is None for one that says nothing."""

    entry: str
    rises: bool | None
    first: int
    last: int
    turned: bool = False


_UNKNOWN = Sense(None, "no word that says it")


def sense_of(key: str) -> Sense:
    """Of any text."""
    if key.startswith(_SYSTEM):
        return Sense(None, "a metric of the system")
    text = spelled(unicodedata.normalize("NFKC", key))
    complement = _COMPLEMENT.search(text)
    if complement is None:
        return _of_words(_words(text))
    prefix, rest = _words(text[: complement.start()]), _words(text[complement.end() :])
    hit = _last_hit(rest)
    if hit is not None and hit.rises is not None and set(rest[: hit.first]) <= AVERAGED:
        sense = _of_words([*prefix, *rest])
        return _turn(sense, "one minus ")
    return _of_words(_words(text))


def _of_words(words: list[str]) -> Sense:
    for at in range(len(words) - 1, -1, -1):
        for parts in _BEGIN.get(words[at], ()):
            if words[at : at + len(parts)] == parts and words[max(at - 1, 0)] != "reciprocal":
                entry = " ".join(parts)
                return _Hits(words).checked(_Hit(entry, _WHOLE[entry], at, at + len(parts) - 1))
    if "d2" in words and "score" in words:  # of whatever loss, it is the share that is explained
        return _Hits(words).checked(_Hit("d2", rises=True, first=words.index("d2"), last=len(words) - 1))
    if "per" in words[1:-1] and (sense := _of_quotient(words)) is not None:
        return sense
    for at, word in enumerate(words):
        if not at or word not in PREPOSITIONS or TARGETS & set(words[at + 1 : at + 2]):
            continue
        if (hit := _last_hit(words[:at])) is not None:
            return _Hits(words).checked(hit)
    return _Hits(words).sense()


def _of_quotient(words: list[str]) -> Sense | None:
    at = words.index("per", 1)
    above, below = words[:at], words[at + 1]
    hit = _last_hit(above)
    if hit is not None and hit.rises is not None:
        return _Hits(words).checked(hit)
    if above[-1] in _UNITS_ABOVE:
        return Sense(rises=False, why=f"words {above[-1]} per", resource=True)
    if below in PER:
        return Sense(rises=True, why=f"words per {below}", resource=True)
    return _UNKNOWN if hit is None else Sense(None, _quote(hit.entry))


class _Hits:
    """One key's words, and what is to be minded around the one that decides."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words

    def sense(self) -> Sense:
        """By the last word that says something, else by what says something only where nothing else does."""
        hit = _last_hit(self._words)
        if self._words == ["time"]:  # of a clock, or of what?
            return _UNKNOWN
        if hit is not None:
            return self.checked(hit)
        others = [word for word in self._words if word not in NEUTRAL and not word.isdigit()]
        if len(others) == 1 and others[0] in _ALONE:
            return self._minded(_Hit(others[0], others[0] in ALONE_RISING, 0, 0))
        if "score" in self._words:
            at = self._words.index("score")
            return (
                _UNKNOWN if NEGATED & set(self._words) else self.checked(_Hit("score", rises=True, first=at, last=at))
            )
        if len(self._words) > 1 and self._words[-1] in UNITS:
            last = len(self._words) - 1
            sense = self.checked(_Hit(self._words[-1], rises=False, first=last, last=last))
            return replace(sense, resource=True)
        return _UNKNOWN

    def checked(self, hit: _Hit) -> Sense:
        """What an entry says among these words."""
        sense = self._minded(hit)
        if sense.rises is None:
            return sense
        before = self._words[: hit.first]
        if before and before[-1] in NOT:
            return Sense(None, f"{before[-1]} before {_quote(hit.entry)}")
        if "loss" in before and hit.entry in MADE_LOSSES:
            return Sense(rises=False, why=f"loss before {_quote(hit.entry)}")
        if curve := falls_by(hit.entry, self._words):
            sense = replace(sense, rises=False, why=curve)
        if hit.turned or removed(hit.entry, self._words, hit.first, hit.last):
            sense = _turn(sense, "less of ")
        if negation := NEGATED & set(before):
            if hit.entry in OF_A_CLASS or CLASSES & set(before):
                return Sense(None, f"{min(negation)} may be a class")
            return _turn(sense, "negated ")
        return sense

    def _minded(self, hit: _Hit) -> Sense:
        words, sense = self._words, Sense(hit.rises, _quote(hit.entry), hit.entry in RESOURCES)
        if hit.rises is None:
            return sense
        around = [*words[: hit.first], *words[hit.last + 1 :]]
        tail = list(dropwhile(is_split, reversed(words[hit.last + 1 :])))
        if SPREADS & set(around) or tail[:1] in (["se"], ["sd"], ["ci"]):
            return Sense(None, "a spread of values")
        counted = COUNTS & set(words) or any(
            word == "n" and (at == 0 or words[at - 1] in NEUTRAL) for at, word in enumerate(words)
        )
        if counted and hit.entry not in FAULTS and hit.entry not in RESOURCES:
            return Sense(None, "a count")
        if "best" in words and _POSITIONS & set(words[hit.last + 1 :]):
            return Sense(None, "a position")
        if nothing := says_nothing(hit.entry, words, hit.first, hit.last):
            return Sense(None, nothing)
        return sense


def _turn(sense: Sense, how: str) -> Sense:
    return sense if sense.rises is None else replace(sense, rises=not sense.rises, why=f"{how}{sense.why}")


def _quote(entry: str) -> str:
    return f"words {entry}" if " " in entry else f"word {entry}"


def _last_hit(words: Sequence[str]) -> _Hit | None:
    """The last entry among these words; what turns it may stand behind it."""
    at, turned = len(words) - 1, False
    while at >= 0:
        for length in _LENGTHS.get(words[at], ()):
            entry = " ".join(words[max(at - length + 1, 0) : at + 1])
            if entry in _PHRASES:
                if entry == "lag" and at < len(words) - 1 and words[at + 1].isdigit():
                    return _Hit(entry, None, at, at)
                rises = None if entry in SILENT else entry in RISING
                return _Hit(entry, rises, at - entry.count(" "), at, turned)
        turned = turned or words[at] in TURNED
        at -= 1
    return None


def _words(text: str) -> list[str]:
    text = _SECONDS_PER.sub(r"\1_per_\2", _PER_SECOND.sub(r"_per_\1", text))
    return folded([word for chunk in _CHUNK.findall(text) for word in _of_chunk(chunk)])


def _of_chunk(chunk: str) -> Iterator[str]:
    if chunk in "@^%":
        yield from ("at",) if chunk == "@" else ()
        return
    whole = _base(chunk.lower())
    if whole is not None:
        yield whole
        return
    parts = _CAMEL.findall(chunk)
    for part in parts or [chunk]:
        yield from _of_part(part.lower())


def _of_part(part: str) -> Iterator[str]:
    """A part that no vocabulary has: perhaps words that are written as one."""
    base = _base(part)
    if base is not None:
        yield base
        return
    for end in _ENDS:
        before = part.removesuffix(end).rstrip("0123456789")
        if part.endswith(end) and len(before) > 2 and before != "ter":  # gloss and floss are words
            yield from (_base(before) or before, end)
            return
    if part.endswith("time") and part.removesuffix("time") in _TIMED:
        yield from (part.removesuffix("time"), "time")
        return
    yield part


@lru_cache(maxsize=50_000)
def _base(word: str) -> str | None:
    """The word as the vocabulary has it: without digits at its end, in the singular, without a split before it."""
    bare = word.rstrip("0123456789")
    for form in (word, bare):
        for one in (form, *_singulars(form)):
            if one in _KNOWN:
                return one
    for split in _SPLITS:
        rest = bare.removeprefix(split)
        signed = rest == "error" and split in ("mean", "avg")  # both words matter
        if rest != bare and rest in _DIRECTED and not signed:
            return rest
    if bare[:1] in _LETTERS and bare[1:] in _AFTER_LETTER:
        return bare[1:]
    return None


def _singulars(word: str) -> Iterator[str]:
    if word.endswith("ies"):
        yield f"{word[:-3]}y"
    if word.endswith("es"):
        yield word[:-2]
    if word.endswith("s") and len(word) > 2 and word != "times":
        yield word[:-1]
