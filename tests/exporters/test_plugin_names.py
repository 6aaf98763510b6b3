"""What exporters of other packages import is all in one module."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from mlflow_monitoring_exporter import plugin

CLASSES = [value for name in plugin.__all__ if inspect.isclass(value := getattr(plugin, name))]


def named(hint: Any) -> Iterator[type]:
    """The classes of ours within a type."""
    if inspect.isclass(hint) and hint.__module__.startswith("mlflow_monitoring_exporter"):
        yield hint
    for part in typing.get_args(hint):
        yield from named(part)


@pytest.mark.parametrize("owner", CLASSES, ids=lambda owner: owner.__name__)
def test_what_a_method_takes_or_gives_can_be_imported_with_it(owner: type) -> None:
    public = [
        method.__func__ if isinstance(method, classmethod | staticmethod) else method
        for name, method in vars(owner).items()
        if name == "__init__" or not name.startswith("_")
    ]
    needed = {
        of.__name__
        for method in public
        if inspect.isfunction(method)
        for hint in typing.get_type_hints(method).values()
        for of in named(hint)
    }
    assert needed <= set(plugin.__all__)
