"""YAML that we write for others: as people would write it, in the order of the mappings."""

from __future__ import annotations

from typing import Any

import yaml


class _Indented(yaml.SafeDumper):
    """Lists stand further in than the key that they belong to."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:  # noqa: FBT001, FBT002 - PyYAML's
        return super().increase_indent(flow, False)


def to_yaml_text(tree: Any) -> str:
    """One document."""
    text: str = yaml.dump(tree, Dumper=_Indented, sort_keys=False, allow_unicode=True, width=120)
    return text
