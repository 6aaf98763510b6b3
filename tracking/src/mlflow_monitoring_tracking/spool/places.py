"""A place in what a writer wrote."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """How far a writer has been read, or has written: all before ``offset`` of its segment ``number``."""

    number: int
    offset: int
