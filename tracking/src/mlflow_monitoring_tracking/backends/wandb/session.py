"""One run that is open at W&B, and how far the journal was fed to its client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow_monitoring_tracking.backends.wandb.journal import Journal, Mark
from mlflow_monitoring_tracking.backends.wandb.process import ClientProcess

#: Seconds for the client to find the run, to take some entries, and to bring everything to the server.
_OPEN, _FEED, _FINISH = 60.0, 60.0, 300.0
#: Entries of one command.
_AT_ONCE = 500


class Session:
    """Starts a client and has it find or make the run ``of_run`` (the arguments of ``wandb.init``).

    Feeds the journal from ``mark`` on; of rows, those that the server does not have.

    :raises BackendError: W&B cannot be reached, refuses the key, or has deleted the run.
    """

    def __init__(self, journal: Journal, mark: Mark, of_run: dict[str, Any], directory: Path) -> None:
        self._journal = journal
        self._mark = mark
        self._client = ClientProcess(directory)
        self._rows = int(self._client.ask(_OPEN, do="open", timeout=_OPEN - 10, **of_run)["rows"])

    @property
    def mark(self) -> Mark:
        """How far the journal was fed."""
        return self._mark

    def feed(self) -> None:
        """Hand over what is new in the journal.

        :raises BackendError: the client failed; the session is over.
        """
        for entries, mark in self._journal.entries(self._mark, _AT_ONCE):
            wanted = [(number, entry) for number, entry in entries if number is None or number >= self._rows]
            if wanted:
                self._client.ask(_FEED, do="feed", entries=wanted)
            self._mark = mark

    def finish(self, exit_code: int) -> None:
        """Wait until the server has everything, and end the run there.

        :raises BackendError: it does not have everything; the session is over.
        """
        self._client.ask(_FINISH, do="finish", exit_code=exit_code)
        self._client.close()

    def close(self) -> None:
        """End the client, and not the run."""
        self._client.close()

    def forget(self) -> None:
        """In a forked child, where the client is the parent's."""
        self._client.forget()
