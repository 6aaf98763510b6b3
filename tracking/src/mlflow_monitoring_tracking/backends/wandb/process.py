"""The other end of ``client.py``: starts the process, asks it, ends it."""

from __future__ import annotations

import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlflow_monitoring_tracking.backends.contract import BackendError, RunGone, Unauthorized, Unavailable

#: Variables of a training's own use of W&B that would make of our run another one.
_OF_A_RUN = ("WANDB_RUN", "WANDB_NAME", "WANDB_NOTES", "WANDB_TAGS", "WANDB_RESUME", "WANDB_SWEEP", "WANDB_JOB")
_OF_A_PROCESS = ("WANDB_SERVICE", "_WANDB", "WANDB_MODE", "WANDB_DISABLED", "WANDB_DIR")
_REFUSED = re.compile(r"\b40[13]\b|permission denied|not logged in|unauthorized|no api key|invalid api key")


class ClientProcess:
    """A client. ``directory`` is for its own files; it is made, emptied, and removed with it.

    :raises Unavailable: it cannot be started.
    """

    def __init__(self, directory: Path) -> None:
        shutil.rmtree(directory, ignore_errors=True)  # of a client that was killed
        directory.mkdir(parents=True)
        self._directory = directory
        self._process = _start(directory)
        self._answers = b""

    def ask(self, within: float, **command: Any) -> Any:
        """The answer to a command, in ``within`` seconds.

        :raises BackendError: there is none, or it says that the client failed; the process is ended.
        """
        try:
            answer = self._exchange(json.dumps(command).encode() + b"\n", time.monotonic() + within)
        except (OSError, ValueError) as error:
            self.close()
            raise Unavailable(f"W&B's client: {error}") from error
        if "error" in answer:
            self.close()
            raise _meaning(str(answer["kind"]), str(answer["error"]))
        return answer

    def close(self) -> None:
        """End the client, and not the run."""
        self.forget()
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            shutil.rmtree(self._directory, ignore_errors=True)

    def forget(self) -> None:
        """Let go of the pipes; in a forked child, where the client is the parent's, of nothing else."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _exchange(self, command: bytes, until: float) -> Any:
        """Write a command and read its answer; neither waits longer than ``until``, whatever the client does."""
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018 - pipes
        writes, reads = self._process.stdin.fileno(), self._process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(writes, selectors.EVENT_WRITE)
            selector.register(reads, selectors.EVENT_READ)
            while True:
                ready = selector.select(max(0.0, until - time.monotonic()))
                if not ready:
                    raise TimeoutError("no answer in time")
                for key, _ in ready:
                    if key.fd == writes:
                        command = command[os.write(writes, command) :]
                        if not command:
                            selector.unregister(writes)
                    elif more := os.read(reads, 2**16):
                        self._answers += more
                    else:
                        raise ConnectionResetError(f"it ended: {self._last_words()}")
                line, newline, rest = self._answers.partition(b"\n")
                if newline:
                    self._answers = rest
                    return json.loads(line)

    def _last_words(self) -> str:
        lines = (self._directory / "log").read_text("utf-8", "replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "it said nothing")


def _start(directory: Path) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_A_RUN + _OF_A_PROCESS)}
    with (directory / "log").open("wb") as log:
        try:
            process = subprocess.Popen(  # noqa: S603 - this very Python
                [sys.executable, "-m", "mlflow_monitoring_tracking.backends.wandb.client", str(directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "WANDB_SILENT": "true"},
                start_new_session=True,  # Ctrl-C is for the training
            )
        except OSError as error:
            raise Unavailable(f"W&B's client cannot be started: {error}") from error
    assert process.stdin is not None  # noqa: S101 - a pipe
    os.set_blocking(process.stdin.fileno(), False)
    return process


def _meaning(kind: str, text: str) -> BackendError:
    """By its words: W&B's client says AuthenticationError of a server that cannot be reached, too."""
    lower = text.lower()
    if "previously created and deleted" in lower:
        return RunGone(f"W&B: {text}")
    if _REFUSED.search(lower) or (kind == "UsageError" and "api_key" in lower):
        return Unauthorized(f"W&B: {text}")
    return Unavailable(f"W&B: {kind}: {text}")
