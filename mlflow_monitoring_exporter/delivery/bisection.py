"""Which samples of a batch does the platform really refuse?

::

    refused whole --> both halves --> the refused one's halves --> ... --> single samples

A platform that answers 400, 413 or 422 refuses the whole batch for one bad sample, or for its size.
Halves go out as batches of their own, with ids that depend on their content only: should this be cut
short and begin again, the platform recognises what it already has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import PartialExportError, PermanentExportError, describe
from mlflow_monitoring_exporter.core.values import Batch
from mlflow_monitoring_exporter.exporters.contract import AnyExporter
from mlflow_monitoring_exporter.state.batch_codec import part
from mlflow_monitoring_exporter.state.payload import Refusal

Refusals = Mapping[Refusal, Sequence[int]]
"""Why, and which samples, by their index in the batch."""

#: Refused requests for one batch. Enough to find ten bad samples among 500; a platform that refuses
#: everything is not asked a thousand times.
_PATIENCE = 100
#: One export may take this long at most, whatever the exporter's own timeouts are.
EXPORT_TIMEOUT = 60.0


class Bisection:
    """Delivers one batch, in parts if need be. ``first_ms`` is when it was first tried."""

    def __init__(self, exporter: AnyExporter, batch: Batch, until: Deadline, first_ms: int) -> None:
        self._exporter = exporter
        self._batch = batch
        self._until = until
        self._first_ms = first_ms
        self._refused = 0

    def run(self) -> Refusals:
        """The samples that are permanently rejected; all others were delivered. Raises every other ExportError."""
        found: dict[Refusal, list[int]] = {}
        waiting = [range(len(self._batch.samples))]
        while waiting:
            indexes = waiting.pop(0)
            try:
                self._exporter.export(part(self._batch, indexes), deadline=self._until.earlier(EXPORT_TIMEOUT))
            except PartialExportError as error:
                refusal = Refusal(describe(error), None, self._first_ms)
                found.setdefault(refusal, []).extend(indexes[at] for at in error.rejected)
            except PermanentExportError as error:
                self._refused += 1
                if error.divisible and len(indexes) > 1 and self._refused < _PATIENCE:
                    middle = len(indexes) // 2
                    waiting[:0] = [indexes[:middle], indexes[middle:]]
                else:
                    found.setdefault(Refusal(describe(error), error.status, self._first_ms), []).extend(indexes)
        return found
