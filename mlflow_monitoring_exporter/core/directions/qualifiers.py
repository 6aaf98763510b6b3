"""What stands around a word and takes away or turns what it says.

::

    policy_loss, loss/D       a surrogate, an adversary's loss      nothing
    mean_error                errors with a sign                    nothing
    rmse_ci_lower             a bound of confidence                 nothing
    bugs_fixed, gap_closed    what is done away with                the other way round
    rmse_skill_score          a skill, whatever it is made of       more is better
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlflow_monitoring_exporter.core.directions.vocabulary import (
    COUNTS,
    NEUTRAL,
    REMOVABLE,
    REMOVED,
    SKILLED,
    SURROGATES,
    TURNED,
)

#: In capitals and cut at a rank it is the expected reciprocal rank, ``err@5`` an error rate.
_ERR = re.compile(r"(?:(?<![^\W_])n)?(?<![A-Z])ERR(?=\s*(?:@|_at_)\s*\d)")
_F_BETA = re.compile(r"(?<![^\W_])[fF][-_]?\d\.\d+(?![^\W_])")
_UNION = ["intersection", "over", "union"]
_SIDES = frozenset(("lower", "upper", "low", "high", "lo", "hi", "l", "u", "left", "right", "bound"))
_OF_CONFIDENCE = frozenset(("bound", "ci", "conf", "confidence", "limit"))
_NOT_SIGNED = frozenset(("rate", "ratio", "percentage", "percent", "pct", "fraction")) | COUNTS | TURNED
_PASSED = NEUTRAL | COUNTS | {"auto", "automatically", "successfully"}


def spelled(text: str) -> str:
    """The key with those names spelled out that letters alone do not tell."""
    return _F_BETA.sub("fbeta", _ERR.sub("reciprocal_rank", text))


def folded(words: list[str]) -> list[str]:
    """The words with what stands for one thing as one: ``rmse skill`` is ``skill score``."""
    for at in range(len(words) - 2):
        if words[at : at + 3] == _UNION:
            return folded([*words[:at], "iou", *words[at + 3 :]])
    if "skill" not in words:
        return words
    at = words.index("skill")
    before, after = words[:at], words[at + 1 :]
    if after[:1] == ["score"] or (before and before[-1] in SKILLED):
        rest = [word for word in after if word not in SKILLED]
        return [*before, "skill", *(rest if rest[:1] == ["score"] else ["score", *rest])]
    return words


def is_split(word: str) -> bool:
    """Whether a word only says of which data, or which of several values: ``val``, ``mean``, ``p99``, ``95``."""
    return word in NEUTRAL or word.isdigit() or word == "p"


def says_nothing(entry: str, words: Sequence[str], first: int, last: int) -> str | None:
    """Why the entry at ``first`` to ``last`` says nothing among these words; None where it does."""
    if entry in ("loss", "err") and _surrogate(words, first, last):
        return "a surrogate or adversarial loss"
    if entry == "error" and words[max(first - 1, 0)] in ("mean", "avg", "average"):
        following = set(words[last + 1 : last + 2])
        if not following & _NOT_SIGNED:
            return "a mean of errors with a sign"
    if entry == "error" and _removal_after(words, last) not in (None, "correction"):
        return "an error, or how many are gone"
    if entry != "gap" and _bound(words, first, last):
        return "a bound of confidence"
    return None


def falls_by(entry: str, words: Sequence[str]) -> str | None:
    """Why the area under a curve is better when it is less; None where it is not such a curve."""
    among = set(words)
    if entry == "auc" and (among & {"deletion", "sparsification"} or {"risk", "coverage"} <= among):
        return "the area under a curve that should fall"
    return None


def removed(entry: str, words: Sequence[str], first: int, last: int) -> bool:
    """Whether it is said that faults are gone: ``bugs_fixed``, ``resolved_incidents``, ``error_correction``."""
    after = _removal_after(words, last)
    if entry == "error":
        return after == "correction"
    return entry in REMOVABLE and (after is not None or (first > 0 and words[first - 1] in REMOVED))


def _removal_after(words: Sequence[str], last: int) -> str | None:
    for word in words[last + 1 :]:
        if word in REMOVED:
            return word
        if word not in _PASSED:
            return None
    return None


def _surrogate(words: Sequence[str], first: int, last: int) -> bool:
    before = next((at for at in range(first - 1, -1, -1) if not _between(words, at)), None)
    after = next((at for at in range(last + 1, len(words)) if not _between(words, at)), None)
    return any(at is not None and _of_surrogate(words, at) for at in (before, after))


def _between(words: Sequence[str], at: int) -> bool:
    """Whether a word may part a loss from whose it is: ``d_loss_real``, ``loss_G_A``, ``actor/train/loss``."""
    word = words[at]
    return not _of_surrogate(words, at) and (
        word in NEUTRAL or word in ("real", "fake") or word.isdigit() or len(word) == 1
    )


def _of_surrogate(words: Sequence[str], at: int) -> bool:
    word, before = words[at].rstrip("0123456789"), words[at - 1] if at else ""
    if word == "entropy":
        return before not in ("cross", "relative", "x")
    if word in ("coef", "coeff"):
        return before in ("ent", "entropy")
    if word == "gradient":
        return before == "policy"
    return word in SURROGATES


def _bound(words: Sequence[str], first: int, last: int) -> bool:
    around = (at for at in range(len(words)) if not first <= at <= last)
    return any(_of_interval(words, at) for at in range(len(words))) or any(
        _is_side(words, at, behind=at > last) for at in around
    )


def _of_interval(words: Sequence[str], at: int) -> bool:
    """Whether ``ci`` or ``conf`` stands beside a side or a level: ``ci_lower``, ``ci95``."""
    word = words[at]
    if word not in ("ci", "conf"):
        return False
    beside = (*words[max(at - 1, 0) : at], *words[at + 1 : at + 2])
    return any(w in _SIDES or (word == "ci" and w.isdigit()) for w in beside)  # precision_conf_0.5 has a threshold


def _is_side(words: Sequence[str], at: int, *, behind: bool) -> bool:
    """Whether the word is the side of a bound; ``behind`` says that it follows what is bounded."""
    word, following = words[at], words[at + 1 :]
    if word in ("lcb", "ucb"):
        return behind
    if word not in ("lower", "upper"):
        return False
    return bool(set(following[:1]) & _OF_CONFIDENCE) or (behind and all(map(is_split, following)))
