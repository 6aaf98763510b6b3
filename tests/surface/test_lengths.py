"""Labels have a length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.prometheus.label_lengths import Lengths, shortened

texts = st.text(st.characters(codec="utf-8"), max_size=80)


@given(texts, st.integers(16, 100))
def test_no_text_is_longer_than_allowed_and_one_that_fits_stays(text: str, longest: int) -> None:
    short = shortened(text, longest)
    assert len(short.encode()) <= longest
    if len(text.encode()) <= longest:
        assert short == text
    else:
        head = short.rpartition("…")[0]
        assert text.startswith(head)
        assert len(head.encode()) > longest - 16, "no more is cut than needed"


@pytest.mark.parametrize("letter", ["x", "é", "語", "🙂"])
def test_a_text_of_just_the_length_stays_and_one_that_is_longer_fills_it(letter: str) -> None:
    longest = 48  # of letters of one to four bytes each
    whole = letter * (longest // len(letter.encode()))
    assert shortened(whole, longest) == whole
    rest = (longest - len("…".encode()) - 8) % len(letter.encode())
    assert len(shortened(whole + "x", longest).encode()) == longest - rest


@given(texts, texts, st.sampled_from(["é", "語", "🙂", "x"]))
def test_texts_that_begin_alike_stay_apart(one: str, two: str, letter: str) -> None:
    common = letter * 300
    assert (shortened(common + one, 200) == shortened(common + two, 200)) == (one == two)


@given(st.lists(texts, max_size=20), st.integers(16, 40))
def test_what_was_shortened_can_be_told(many: list[str], longest: int) -> None:
    lengths = Lengths(longest)
    shown = [lengths[text] for text in many]
    assert [lengths.originals.get(text, text) for text in shown] == many
