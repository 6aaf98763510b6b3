"""What hostile text in an answer becomes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.core.errors import SourceError
from mlflow_monitoring_exporter.core.foreign_text import excerpt
from mlflow_monitoring_exporter.http import HttpResponse
from mlflow_monitoring_exporter.source.rest.answer import read_answer


@given(st.integers(200, 599), st.text(), st.binary(max_size=50), st.sampled_from(["application/json", "text/html", ""]))
def test_any_answer_is_an_object_or_an_error_on_one_line(status: int, location: str, body: bytes, kind: str) -> None:
    response = HttpResponse(status, {"Location": location, "Retry-After": location, "Content-Type": kind}, body)
    try:
        answer = read_answer(response, server="http://mlflow", credentials="", redact=str)
    except SourceError as error:
        assert str(error).isprintable()  # noqa: PT017 - either outcome is right
    else:
        assert isinstance(answer, dict)


@given(st.text(max_size=2000))
def test_foreign_text_becomes_one_short_printable_line(text: str) -> None:
    line = excerpt(text)
    assert line.isprintable()
    assert len(line) <= 303


def test_secrets_are_removed_before_text_is_cut() -> None:
    body = b'{"error_code": "X", "message": "' + b"x" * 296 + b' hunter2"}'
    response = HttpResponse(400, {}, body)
    with pytest.raises(SourceError) as caught:
        read_answer(response, server="s", credentials="", redact=lambda text: text.replace("hunter2", "[redacted]"))
    assert "hun" not in str(caught.value)
