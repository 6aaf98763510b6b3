"""The process that holds W&B's client: reads commands as lines of JSON, and answers each with one.

It is a process of its own, so that neither the client's threads, forks and signal handlers nor its imports come into a
training, which may use W&B itself, too. It ends when its commands do.

::

    {"do": "check", "timeout": s}                -> {"user": name}
    {"do": "open", ...}                          -> {"rows": n}      how many rows of history the server has
    {"do": "feed", "entries": [[n, {...}], ...]} -> {}               rows have their number; others have none
    {"do": "finish", "exit_code": n}             -> {}               the server has everything
                                     a failure   -> {"error": text, "kind": the exception's name}
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: The key in a row that holds its step.
STEP_KEY = "tracking/step"
#: Seconds between two transmissions of history.
_TRANSMIT = 2.0


class Client:
    """One run at W&B."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = directory / "files"
        self._run: Any = None

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do one thing.

        :raises Exception: whatever the client raises.
        """
        do = command.pop("do")
        if do == "check":
            return {"user": _user(command["timeout"])}
        if do == "open":
            return {"rows": self._open(**command)}
        if do == "feed":
            for number, entry in command["entries"]:
                self._feed(number, entry)
        elif do == "finish":
            self._run.finish(exit_code=command["exit_code"])
        return {}

    def _open(self, *, start_time: float, timeout: float, **of_run: Any) -> int:
        import wandb

        settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            init_timeout=timeout,
            quiet=True,
            save_code=False,
            silent=True,
            # The machine and the program of this process say nothing about the run.
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_file_stream_transmit_interval=_TRANSMIT,
            x_save_requirements=False,
            x_start_time=start_time,
        )
        run = wandb.init(resume="allow", mode="online", dir=str(self._directory), settings=settings, **of_run)
        run.define_metric("*", step_metric=STEP_KEY, step_sync=False)
        self._run = run
        return int(run.starting_step)

    def _feed(self, number: int | None, entry: dict[str, Any]) -> None:
        if "row" in entry:
            self._run.log(entry["row"], step=number, commit=True)
        elif "config" in entry:
            self._run.config.update(entry["config"], allow_val_change=True)
        elif "file" in entry and Path(entry["file"]).is_file():
            link = self._files / entry["path"]
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(entry["file"])
            self._run.save(str(link), base_path=str(self._files), policy="now")


def _user(timeout: float) -> str:
    import wandb

    return str(wandb.Api(timeout=int(timeout)).viewer.username)


def _leave_after(parent: int) -> None:
    """End with the sender, also where a process that it forked holds the other end of the pipe."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def main(arguments: Sequence[str]) -> None:
    """Answer until there are no more commands. ``arguments`` are one directory, for the client's own files."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the client prints is no answer
    threading.Thread(target=_leave_after, args=(os.getppid(),), daemon=True).start()
    client = Client(Path(arguments[0]))
    for line in sys.stdin:
        try:
            answer = client.answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - the other side decides what it means
            answer = {"error": " ".join(str(error).split())[:500], "kind": type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    # Without the client's own end, which would say that the run finished. The next process goes on with it.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
