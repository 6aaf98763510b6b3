"""When has a JSON sink taken a batch?

::

    success:
      status: [200, 201, 202, 204]
      json: {errors: false}            # of Elasticsearch; {code: 0} of Splunk
      html: false

An answer counts when its status is one of ``status``, it is no page for people, and its JSON says at every path of
``json`` what it should. What becomes of a batch whose answer does not count depends on which of the three it was:

=====================================  ==============================================================================
another 2xx, a page, no JSON           retry: another server has answered, or the test is wrong; no sample is at fault
207, or not what ``json`` says         dead letter: parts are refused, and halves find out which
the same, and a part says 429 or 503   retry: that part is not at fault, the sink is busy
=====================================  ==============================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from mlflow_monitoring_exporter.config.fields import repeated
from mlflow_monitoring_exporter.config.section import Section
from mlflow_monitoring_exporter.core.disclosure import shown_path
from mlflow_monitoring_exporter.core.errors import PermanentExportError, RetryableExportError
from mlflow_monitoring_exporter.exporters.answers import pause
from mlflow_monitoring_exporter.exporters.endpoint import Endpoint
from mlflow_monitoring_exporter.http import HttpResponse
from mlflow_monitoring_exporter.http.json_body import parsed

#: Words by which sinks say that they did not take something; what stands there must be nothing.
REPORTS = ("error", "errors", "failed", "failures", "rejected")
#: Bytes of an answer that are looked at: what Elasticsearch says of ten thousand samples is a few millions.
MOST_JSON = 1 << 24
#: What a part's own ``status`` says when the sink is only busy.
_BUSY = {408, 425, 429, 503}
_NO_CONTENT, _MULTI_STATUS, _CONFLICT = 204, 207, 409
_NOT_JSON = object()
#: What may stand before the first character: a byte order mark, and white space.
_BEFORE_JSON = b"\xef\xbb\xbf \t\r\n"


def parse_statuses(value: Any) -> Any:
    """One status is a list, too; environment variables and flags carry ``200,202``."""
    if isinstance(value, str):
        words = [word.strip() for word in value.split(",")]
        if not all(word.isascii() and word.isdecimal() for word in words):
            raise ValueError(f"{repeated(value)}is no list of statuses: write [200, 202]")
        return words
    return [value] if isinstance(value, int) else value


def check_statuses(value: tuple[int, ...]) -> tuple[int, ...]:
    """Statuses that may mean success."""
    for status in value:
        if not (200 <= status < 300 or status == _CONFLICT):
            raise ValueError(
                f"{status} cannot mean success: name statuses from 200 to 299, or 409 of a sink that says so of "
                "a batch that it already has"
            )
    return value


def check_expectations(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Paths, and what stands there."""
    for path, expected in value.items():
        if not all(path.split(".")):
            raise ValueError(
                f"{shown_path(path)!r} is no path: write names with dots between them, as errors or items.*.status"
            )
        alternatives = expected if isinstance(expected, list | tuple) else [expected]
        shown = shown_path(path)
        if not alternatives or not all(isinstance(one, bool | int | float | str) for one in alternatives):
            raise ValueError(
                f"{shown}: say what must stand there: a text, a number, true, a list of these, or false for nothing"
            )
        if any(isinstance(one, float) and not math.isfinite(one) for one in alternatives):
            raise ValueError(f"{shown}: JSON has neither NaN nor infinities, so this can never stand there")
    return value


_SCALAR = {"type": ["boolean", "number", "string"]}
_EXPECTATIONS = {
    "type": "object",
    "additionalProperties": {"anyOf": [_SCALAR, {"type": "array", "minItems": 1, "items": _SCALAR}]},
}


class Success(Section):
    """What an answer must be in order to mean that the sink has the batch."""

    status: Annotated[tuple[int, ...], BeforeValidator(parse_statuses), AfterValidator(check_statuses)] = Field(
        (200, 201, 202, 204), min_length=1, description="statuses that may mean success"
    )
    expect: Annotated[Mapping[str, Any], AfterValidator(check_expectations), WithJsonSchema(_EXPECTATIONS)] = Field(
        {},
        alias="json",
        description="path in the JSON answer: what stands there; default: no error, failure or rejection",
    )
    html: bool = Field(False, description="whether a page of HTML may mean success")


class SuccessTest:
    """Whether the answers of one sink mean success."""

    def __init__(self, success: Success, endpoint: Endpoint) -> None:
        self._success = success
        self._endpoint = endpoint
        self._expected = success.expect or dict.fromkeys(REPORTS, False)

    def is_foreign(self, answer: HttpResponse) -> bool:
        """Whether another server has answered: a proxy, with a login page."""
        return answer.is_page and not self._success.html

    def judge(self, answer: HttpResponse, *, keyed: bool) -> None:
        """Raise the ExportError that ``answer`` means to a batch; none when the sink has it.

        ``keyed`` says that the batch went with its idempotency key.
        """
        status = answer.status
        if status in self._success.status and not self.is_foreign(answer):
            if status not in (_NO_CONTENT, _CONFLICT):
                self._judge_body(answer)
        elif status in self._success.status or (status < 300 and status != _MULTI_STATUS):
            text = f"{self._endpoint.told(answer)}; {self._doubt(answer)}"
            raise RetryableExportError(text, retry_after=pause(answer))
        else:
            raise self._endpoint.refusal(answer, keyed=keyed)

    def _doubt(self, answer: HttpResponse) -> str:
        if self.is_foreign(answer):
            return "is that a login page? check its address and its credentials, or see success.html"
        return "success.status does not name it"

    def _judge_body(self, answer: HttpResponse) -> None:
        tree = _json(answer)
        if tree is _NOT_JSON and answer.body.strip() and (self._success.expect or _is_cut(answer)):
            raise self._retry(answer, "its body is not JSON, or not all of it, so that success.json cannot be seen")
        wrong = [path for path, expected in self._expected.items() if not _fits(_at(tree, path.split(".")), expected)]
        if not wrong:
            return
        text = f"by success.json this is no success: {wrong[0]}"
        if tree is _NOT_JSON or _is_busy(tree):
            raise self._retry(answer, text)
        raise PermanentExportError(f"{self._endpoint.told(answer)}; {text}", status=answer.status)

    def _retry(self, answer: HttpResponse, reason: str) -> RetryableExportError:
        return RetryableExportError(f"{self._endpoint.told(answer)}; {reason}", retry_after=pause(answer))


def _json(answer: HttpResponse) -> Any:
    try:
        return _NOT_JSON if answer.cut else parsed(answer.body)
    except ValueError:
        return _NOT_JSON


def _is_cut(answer: HttpResponse) -> bool:
    """Whether JSON was promised and its connection ended somewhere, or was begun and makes no sense."""
    kind = answer.headers.get("Content-Type", "").lower()
    if answer.cut:
        return False
    begun = answer.body.lstrip(_BEFORE_JSON).startswith((b"{", b"[") if "json" in kind else b"{") and (
        not kind or "json" in kind
    )
    return begun or (not answer.framed and "json" in kind)


def _at(tree: Any, path: Sequence[str]) -> list[Any]:
    """What stands at ``path``: several things where it holds ``*``, nothing where it leads nowhere."""
    found = [tree]
    for name in path:
        found = [inner for outer in found for inner in _below(outer, name)]
    return found


def _below(tree: Any, name: str) -> Iterator[Any]:
    if isinstance(tree, dict):
        if name == "*":
            yield from tree.values()
        elif name in tree:
            yield tree[name]
    elif isinstance(tree, list):
        if name == "*":
            yield from tree
        elif name.isascii() and name.isdecimal() and int(name) < len(tree):
            yield tree[int(name)]


def _fits(found: Sequence[Any], expected: Any) -> bool:
    """Whether all that was found is expected; finding nothing is, where ``false`` is."""
    alternatives = expected if isinstance(expected, list | tuple) else [expected]
    if not found:
        return any(one is False for one in alternatives)
    return all(any(_equal(value, one) for one in alternatives) for value in found)


def _equal(value: Any, expected: Any) -> bool:
    if expected is False:
        return not value
    # To Python, true is one.
    return isinstance(value, bool) is isinstance(expected, bool) and bool(value == expected)


def _is_busy(tree: Any) -> bool:
    """Whether any part says with a status of its own that the sink is busy."""
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            status = one.get("status")
            if isinstance(status, int) and status in _BUSY:
                return True
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return False
