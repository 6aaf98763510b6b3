"""Reads config.yaml into a layer: line numbers kept, ``${VAR}`` filled in, every problem collected.

``${NAME}`` must be set; ``${NAME:-default}`` may be missing or empty; ``$${`` is a literal ``${``.
Values are filled in after the YAML was parsed, so a variable cannot change the structure; a value
that was written without quotes is typed after filling in (``${PORT:-80}`` is a number).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

import yaml

from mlflow_monitoring_exporter.config.layers import Layer, Path, Place
from mlflow_monitoring_exporter.errors import ConfigProblem

_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-((?:[^}])*))?\}")
#: Aliases make a small file unfold into a huge one; no honest configuration comes near this.
_MAX_NODES = 50_000


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without dates: ``2026-01-01`` stays text, as it does in the environment."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: FilePath, environ: Mapping[str, str], problems: list[ConfigProblem]) -> Layer:
    """The layer of the file at ``path``; what is wrong with it goes to ``problems``."""
    layer = Layer()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        problems.append(ConfigProblem(str(path), "", f"cannot read the configuration: {reason}"))
        return layer
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None:
            _Walk(loader, str(path), environ, problems, layer).root(root)
    except yaml.YAMLError as error:
        problems.append(_syntax_problem(str(path), error))
    except RecursionError:
        problems.append(ConfigProblem(str(path), "", "is nested too deeply"))
    finally:
        if loader is not None:
            loader.dispose()
    return layer


def _syntax_problem(file: str, error: yaml.YAMLError) -> ConfigProblem:
    mark = getattr(error, "problem_mark", None)
    where = f"{file}:{mark.line + 1}" if mark else file
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return ConfigProblem(where, "", f"YAML syntax: {reason}")


class _Walk:
    """One pass over the node tree of one file."""

    def __init__(
        self,
        loader: _Loader,
        file: str,
        environ: Mapping[str, str],
        problems: list[ConfigProblem],
        layer: Layer,
    ) -> None:
        self._loader = loader
        self._file = file
        self._environ = environ
        self._problems = problems
        self._layer = layer
        self._nodes = 0

    def root(self, node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            self._layer.values = self._mapping(node, ())
        elif not (isinstance(node, yaml.ScalarNode) and self._scalar(node, ()) is None):
            self._report(node, (), "the file must hold a mapping (key: value)")

    def _report(self, node: yaml.Node, path: Path, message: str) -> None:
        where = f"{self._file}:{node.start_mark.line + 1}" if node.start_mark else self._file
        self._problems.append(ConfigProblem(where, ".".join(path), message))

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise yaml.YAMLError("aliases unfold into too many values")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(child, (*path, str(index))) for index, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        self._loader.flatten_mapping(node)
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._report(key_node, path, "a key must be a word")
                continue
            key = str(key_node.value)
            here = (*path, key)
            if key in result:
                self._report(key_node, here, "is given twice")
                continue
            self._layer.places[here] = Place(f"{self._file}:{key_node.start_mark.line + 1}", ".".join(here))
            result[key] = self._value(value_node, here)
        return result

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        text, tag = str(node.value), node.tag
        filled = _VARIABLE.sub(lambda match: self._fill(match, node, path), text)
        if filled != text and getattr(node, "style", None) is None:
            tag = self._loader.resolve(yaml.ScalarNode, filled, (True, False))  # type: ignore[no-untyped-call]
        try:
            return self._loader.construct_object(
                yaml.ScalarNode(tag, filled, node.start_mark, node.end_mark), deep=True
            )
        except (yaml.YAMLError, ValueError, OverflowError):
            self._report(node, path, "is not a value that YAML can hold here")
            return None

    def _fill(self, match: re.Match[str], node: yaml.Node, path: Path) -> str:
        if match[1]:
            return "${"
        value = self._environ.get(match[2], "")
        if value or match[3] is not None:
            return value or match[3]
        if match[2] not in self._environ:
            self._report(
                node, path, f"the variable {match[2]} is not set (${{{match[2]}:-default}} gives it a default)"
            )
        return value
