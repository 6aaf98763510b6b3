"""What the model registry of one server said last, as far as gauges show it: for the time until it is read again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select, update

from mlflow_monitoring_exporter.core.values import ModelVersion
from mlflow_monitoring_exporter.state.schema import alias, server


@dataclass(frozen=True, slots=True)
class RegistryCopy:
    """Versions; by ``(model, alias)`` how often aliases changed; latest values of runs that are not mirrored."""

    versions: Sequence[ModelVersion] = ()
    alias_changes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    elsewhere: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


class MirroredRegistry:
    """The copy of one tracking server, by the number of its row."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._row = server.c.id == number

    def write(
        self, tx: Connection, versions: Sequence[ModelVersion], elsewhere: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Replace the copy; changes of aliases have a table of their own (state/aliases.py)."""
        # NaN and infinity as Python's json spells them: nothing else reads this.
        rows = [[v.model, v.version, v.run_id, v.stage, v.aliases] for v in versions]
        text = json.dumps({"versions": rows, "elsewhere": elsewhere})
        tx.execute(update(server).where(self._row).values(registry=text))

    def read(self, tx: Connection) -> RegistryCopy:
        """The copy; an empty one when the registry was never read."""
        text = tx.execute(select(server.c.registry).where(self._row)).scalar_one()
        if not text:
            return RegistryCopy()
        kept = json.loads(text)
        versions = tuple(
            ModelVersion(model, version, run_id, stage, tuple(aliases))
            for model, version, run_id, stage, aliases in kept["versions"]
        )
        changes = tx.execute(
            select(alias.c.model, alias.c.alias, alias.c.changes).where(alias.c.server == self._number)
        )
        return RegistryCopy(versions, {(m, a): c for m, a, c in changes}, kept["elsewhere"])
