"""Reads config.yaml into a layer: line numbers kept, ``${VAR}`` filled in, every problem collected.

``${NAME}`` must be set; ``${NAME:-default}`` may be missing or empty; ``$${`` is a literal ``${``.
Values are filled in after the YAML was parsed, so a variable cannot change the structure; a value
that was written without quotes is typed after filling in (``${PORT:-80}`` is a number).

``<<`` takes over the keys of a mapping, or of a list of mappings of which the first that has a key counts; a key that
is written beside it wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Any

import yaml

from mlflow_monitoring_exporter.config.layers import Layer, Path, Place, spoken
from mlflow_monitoring_exporter.config.yaml_document import (
    MAPPING,
    MAX_DEPTH,
    MAX_KEY,
    MAX_NODES,
    MAX_TEXT,
    MERGE,
    SEQUENCE,
    WORDS,
    Loader,
    TooMuchError,
    explain,
    read_text,
)
from mlflow_monitoring_exporter.core.disclosure import is_plain
from mlflow_monitoring_exporter.core.errors import ConfigProblem

_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-((?:[^}])*))?\}")
_TAG = "has a tag (!) that means nothing here; text that begins with ! belongs in quotes"

Pairs = dict[str, tuple[yaml.ScalarNode, yaml.Node]]
"""The nodes of a mapping by its keys, in their order."""


def read_yaml(path: FilePath, environ: Mapping[str, str], problems: list[ConfigProblem]) -> Layer:
    """The layer of the file at ``path``; what is wrong with it goes to ``problems``."""
    layer = Layer()
    try:
        text = read_text(path)
    except ValueError as error:
        problems.append(ConfigProblem(str(path), "", str(error)))
        return layer
    loader = None
    try:
        loader = Loader(text)
        root = loader.get_single_node()
        if root is not None:
            _Walk(loader, str(path), environ, problems, layer).root(root)
    except yaml.YAMLError as error:
        line, said = explain(error, text)
        problems.append(ConfigProblem(str(path) if line is None else f"{path}:{line}", "", said))
    finally:
        if loader is not None:
            loader.dispose()
    return layer


class _Walk:
    """One pass over the node tree of one file."""

    def __init__(
        self,
        loader: Loader,
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
        self._text = 0
        #: Ids of the nodes that we are in, and of those that something was said about.
        self._open: set[int] = set()
        self._reported: set[int] = set()

    def root(self, node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            self._layer.values = self._value(node, ()) or {}
        elif not (isinstance(node, yaml.ScalarNode) and self._scalar(node, ()) is None):
            self._report(node, (), "the file must hold a mapping (key: value)")

    def _refuse(self, node: yaml.Node, path: Path, message: str) -> None:
        """What stands at ``path`` is no value; nothing more need be said of it."""
        self._layer.refused.add(path)
        self._report(node, path, message)

    def _report(self, node: yaml.Node, path: Path, message: str) -> None:
        """Once for each node, however often aliases lead to it."""
        if id(node) in self._reported:
            return
        self._reported.add(id(node))
        where = f"{self._file}:{node.start_mark.line + 1}" if node.start_mark else self._file
        self._problems.append(ConfigProblem(where, spoken(path), message))

    def _count(self, node: yaml.Node) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            text = f"aliases unfold into too many values: more than {MAX_NODES}, those that << takes over included"
            raise TooMuchError(text, node.start_mark.line + 1 if node.start_mark else None)

    def _count_text(self, length: int, node: yaml.Node) -> None:
        self._text += length
        if self._text > MAX_TEXT:
            text = f"aliases, merges and variables fill in too much text: more than {MAX_TEXT} characters"
            raise TooMuchError(text, node.start_mark.line + 1 if node.start_mark else None)

    @contextmanager
    def _inside(self, node: yaml.Node, path: Path) -> Iterator[bool]:
        """Whether the content of ``node`` can be looked at."""
        if id(node) in self._open:
            self._refuse(node, path, "holds itself, by an alias")
            yield False
        elif len(self._open) >= MAX_DEPTH:
            self._refuse(node, path, f"is nested too deeply: more than {MAX_DEPTH} levels")
            yield False
        else:
            self._open.add(id(node))
            try:
                yield True
            finally:
                self._open.discard(id(node))

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._count(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in (MAPPING, SEQUENCE):
            self._refuse(node, path, _TAG)
            return None
        with self._inside(node, path) as possible:
            if not possible:
                return None
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self._value(child, (*path, str(index))) for index, child in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, (key_node, value_node) in self._pairs(node, path).items():
            here = (*path, key)
            self._layer.places[here] = Place(f"{self._file}:{key_node.start_mark.line + 1}", spoken(here))
            result[key] = self._value(value_node, here)
        return result

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Pairs:
        """What ``node`` holds: what it takes over, then what is written in it."""
        taken: Pairs = {}
        own: Pairs = {}
        merges = 0
        for key_node, value_node in node.value:
            self._count(key_node)
            if isinstance(key_node, yaml.ScalarNode):
                self._count_text(len(key_node.value), key_node)
            if key_node.tag == MERGE and isinstance(key_node, yaml.ScalarNode):
                merges += 1
                if merges > 1:
                    self._report(key_node, (*path, "<<"), "is given twice; give << a list of mappings")
                    continue
                self._take_over(value_node, path, taken)
                continue
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag not in WORDS:
                self._report(key_node, path, "a key must be a word")
                continue
            key = str(key_node.value)
            if len(key) > MAX_KEY:
                self._report(key_node, path, f"a key is too long: more than {MAX_KEY} characters")
            elif not _is_text(key):
                self._report(key_node, path, "a key must be text, and holds half a character (\\ud800 to \\udfff)")
            elif key in own:
                self._report(key_node, (*path, key), "is given twice")
            else:
                own[key] = (key_node, value_node)
        return {**taken, **own}

    def _take_over(self, node: yaml.Node, path: Path, taken: Pairs) -> None:
        for source in node.value if isinstance(node, yaml.SequenceNode) else (node,):
            self._count(source)
            if not isinstance(source, yaml.MappingNode) or source.tag != MAPPING:
                self._report(source, (*path, "<<"), "must be a mapping, or a list of mappings")
                continue
            with self._inside(source, (*path, "<<")) as possible:
                if possible:
                    for key, pair in self._pairs(source, path).items():
                        self._count(source)
                        taken.setdefault(key, pair)

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text, tag = str(node.value), node.tag
        self._count_text(len(text), node)
        # What is behind the last brace can hold no variable, and would be searched again and again for its end.
        head, brace, tail = text.rpartition("}")
        filled = _VARIABLE.sub(lambda match: self._fill(match, node, path), head + brace) + tail.replace("$${", "${")
        if filled != text and node.style is None and id(node) not in self._loader.tagged:
            tag = self._loader.resolve(yaml.ScalarNode, filled, (True, False))  # type: ignore[no-untyped-call]
        try:
            value = self._loader.typed(tag, filled)
            if isinstance(value, str) and not _is_text(value):
                raise ValueError("holds half a character (\\ud800 to \\udfff, or a byte that is not UTF-8)")  # noqa: TRY301 - said like the others
        except ValueError as error:
            self._refuse(node, path, str(error))
            return None
        return value

    def _fill(self, match: re.Match[str], node: yaml.Node, path: Path) -> str:
        if match[1]:
            return "${"
        value = self._environ.get(match[2], "")
        if value or match[3] is not None:
            filled = value or match[3]
            self._count_text(len(filled), node)
            return filled
        if match[2] not in self._environ:
            name = match[2] if is_plain(match[2]) else "NAME"
            which = f"the variable {name}" if is_plain(match[2]) else "a variable"
            self._refuse(node, path, f"{which} is not set (${{{name}:-default}} gives it a default)")
        return value


def _is_text(text: str) -> bool:
    """Whether it can be written: YAML's escapes, and bytes in the environment, make strings that cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
