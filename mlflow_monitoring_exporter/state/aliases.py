"""How often did the aliases of registered models change? MLflow does not say, so it is counted here."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, select

from mlflow_monitoring_exporter.state.schema import alias
from mlflow_monitoring_exporter.state.statements import insert


class Aliases:
    """The aliases in the registry of one server, by the number of its row."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._mine = alias.c.server == server

    def follow(
        self, tx: Connection, now: Mapping[tuple[str, str], int], models: Collection[str], *, first: bool
    ) -> dict[tuple[str, str], int]:
        """Take over which version each ``(model, alias)`` stands for ``now``; how often each has changed.

        One that is new counts as set, unless this is the ``first`` look at the registry. Those of models
        that are gone are forgotten.
        """
        rows = tx.execute(select(alias.c.model, alias.c.alias, alias.c.version, alias.c.changes).where(self._mine))
        known: dict[tuple[str, str], tuple[int | None, int]] = {(m, a): (v, c) for m, a, v, c in rows}
        for name in known.keys() | now.keys():
            version, changes = known.get(name, (None, -1 if first else 0))
            if now.get(name) != version:
                known[name] = (now.get(name), changes + 1)
        kept = {name: found for name, found in known.items() if name[0] in models}
        gone = [name for name in known if name not in kept]
        for model in {model for model, _ in gone}:
            tx.execute(alias.delete().where(self._mine, alias.c.model == model))
        if kept:
            statement = insert(tx, alias)
            changed = {"version": statement.excluded.version, "changes": statement.excluded.changes}
            tx.execute(
                statement.on_conflict_do_update(index_elements=["server", "model", "alias"], set_=changed),
                [
                    {"server": self._server, "model": model, "alias": word, "version": version, "changes": changes}
                    for (model, word), (version, changes) in kept.items()
                ],
            )
        return {name: changes for name, (_, changes) in kept.items()}
