"""Send an alert where Prometheus does not run: through apprise, in a process of its own.

So that no program waits for a service, and an alert about the end of a program outlives it. What goes wrong is a line
on standard error.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow_monitoring_tracking.events import event

_KINDS = {"info": "info", "warning": "warning", "critical": "failure"}


def notify(urls: Sequence[str], alert: Mapping[str, Any]) -> None:
    """Have it sent to every one of apprise's URLs: ``mailto://``, ``slack://``, ``jsons://``, ...

    :raises OSError: there can be no process.
    """
    sender = subprocess.Popen(
        [sys.executable, "-m", "mlflow_monitoring_tracking.notifying"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the program
    )
    if sender.stdin is not None:
        with sender.stdin as said:  # and not as arguments, which all can see
            said.write(json.dumps([list(urls), alert], default=str).encode())
    threading.Thread(target=sender.wait, name="tracking-alert", daemon=True).start()


def main() -> None:
    """Send what standard input says."""
    logging.basicConfig(format="%(message)s")
    urls, alert = json.load(sys.stdin)
    try:
        import apprise
    except ImportError as error:
        reason = f"{error}; pip install 'mlflow-monitoring-tracking[notify]'"
        event("backend_unavailable", logging.WARNING, platform="notifications", reason=reason)
        return
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its lines may hold a URL, and that a password
    for place, url in enumerate(urls):
        target, key = apprise.Apprise(), f"notifications.urls[{place}]"
        if not target.add(url):
            event("upload_failed", logging.WARNING, key=key, reason="apprise knows no such URL")
        elif not target.notify(
            title=f"{alert['severity']}: {alert['kind']} {alert['subject']}",
            body=alert["message"],
            notify_type=_KINDS.get(alert["severity"], "info"),
        ):
            event("upload_failed", logging.WARNING, key=key, reason="the service did not take it")


if __name__ == "__main__":
    main()
