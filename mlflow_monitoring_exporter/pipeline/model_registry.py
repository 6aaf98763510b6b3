"""What the model registry says, read with every poll: a promotion must show at once.

While a registry is empty it is asked every few seconds at most, so that short intervals cost nothing where
it is not used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog
from sqlalchemy import Connection

from mlflow_monitoring_exporter.core.errors import SourceError, SourceResponseError, SourceUnavailableError
from mlflow_monitoring_exporter.core.values import ModelVersion, Run
from mlflow_monitoring_exporter.source.protocol import Source
from mlflow_monitoring_exporter.state.aliases import Aliases
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.latest_values import LatestValues
from mlflow_monitoring_exporter.state.mirror import Mirror
from mlflow_monitoring_exporter.state.mirrored_registry import MirroredRegistry, RegistryCopy
from mlflow_monitoring_exporter.transform import model_versions as registry

#: Seconds after which an empty registry is asked again.
_EMPTY_FOR = 5.0
#: How many times as long as a failure took the registry is left alone then.
_PATIENCE = 2

_log = structlog.get_logger(__name__)


class ModelRegistrySync:
    """Keeps the stages in the mirror in step with the registry. ``select`` says whether a key is exported."""

    def __init__(self, source: Source, database: Database, mirror: Mirror, select: Callable[[str], bool]) -> None:
        self._source = source
        self._database = database
        self._mirror = mirror
        self._latest = LatestValues(database, mirror.server)
        self._select = select
        self._aliases = Aliases(mirror.server)
        self._read: Sequence[ModelVersion] | None = None
        self._ask_again = 0.0
        self._failed = False
        self._first = False
        self._found: Sequence[ModelVersion] = ()
        self._wanted: Collection[str] = frozenset()
        self.stages: Mapping[str, str] = {}
        self.registry = RegistryCopy()
        self._copy = MirroredRegistry(mirror.server)
        self._copied = self.registry

    def update(self, *, refresh: bool, first: bool) -> list[str]:
        """Read what may have changed, with ``refresh`` everything; the runs whose stage is another now.

        ``first`` says that the registry was never read before, so that no alias counts as changed.
        """
        self._first = self._first or first
        waits = self._failed or not self._read
        if waits and not refresh and time.monotonic() < self._ask_again:
            return []
        began = time.monotonic()
        try:
            versions = self._source.registry(refresh=refresh or self._read is None)
        except (SourceUnavailableError, SourceResponseError) as error:
            self._keep(began, error)
            return []
        self._failed = False
        self._ask_again = time.monotonic() + _EMPTY_FOR
        if versions is self._read:
            return []
        stages = registry.stages_by_run(versions)
        aliases = {name: version.version for name, version in registry.by_alias(versions).items()}
        with self._database.write() as tx:
            restaged = self._mirror.restage(tx, stages)
            changes = self._aliases.follow(tx, aliases, {version.model for version in versions}, first=self._first)
        self._first = False
        self._read, self.stages = versions, stages
        self.registry = RegistryCopy(versions, changes, self.registry.elsewhere)
        return restaged

    def _keep(self, began: float, error: SourceError) -> None:
        """A registry that cannot be read now must not stop runs and histories: what it said last stands.

        One that takes long to fail is asked again the later.
        """
        now = time.monotonic()
        self._ask_again = now + max(_EMPTY_FOR, _PATIENCE * (now - began))
        if not self._failed:
            self._failed = True
            _log.warning("cannot read the model registry; keeping its last known state", reason=str(error))
        if self._read is None:
            self.stages = self._mirror.registry_stages()
            if self.registry is self._copied:  # nothing was read, so what was kept stands
                self.registry = self._copied = self.known()

    def look_up(self, watched: Collection[str], others: Sequence[str], *, refresh: bool) -> Sequence[Run]:
        """Read the runs of models that nothing else has read, when there may be other ones than before.

        Those of experiments that are not watched are kept here; the others, which are to be mirrored, are the result:
        one that began long before it was logged only the sweep would find.
        """
        if self._found is self.registry.versions and not refresh:
            return ()
        wanted = registry.runs_of(self.registry.versions)
        mirrored = {run.run_id for run in self._latest.named(wanted) if run.experiment_id in watched}
        asked = sorted((wanted - mirrored) | (wanted - frozenset(self._wanted)))
        runs = list(self._source.named([*watched, *others], asked)) if asked else []
        elsewhere = {
            run.run_id: {point.key: point.value for point in run.latest if self._select(point.key)}
            for run in runs
            if run.experiment_id not in watched
        }
        if elsewhere != self.registry.elsewhere:
            self.registry = RegistryCopy(self.registry.versions, self.registry.alias_changes, elsewhere)
        self._found, self._wanted = self.registry.versions, wanted
        return [run for run in runs if run.experiment_id in watched]

    def known(self) -> RegistryCopy:
        """What was read last, without asking MLflow; empty when the registry was never read."""
        with self._database.read() as tx:
            return self._copy.read(tx)

    def keep(self, tx: Connection) -> None:
        """Write down what gauges show of the registry, if that is something else than before."""
        if self.registry is not self._copied:
            self._copy.write(tx, registry.noteworthy(self.registry.versions), self.registry.elsewhere)
            self._copied = self.registry
