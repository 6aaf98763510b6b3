"""The page of troubles quotes what the software really prints: each trouble is made here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.docs.pages import ROOT, rows, section
from tests.parts.bad_server import answer, bad_server
from tests.parts.command import continuous, run
from tests.parts.databases import driver_url, postgresql
from tests.parts.programs import free_port
from tests.web.test_probes import probe

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()


def refused(here: Path) -> str:
    return run("check", "--tracking-uri", f"http://127.0.0.1:{free_port()}", cwd=here).err


def other_host(here: Path) -> str:
    # As MLflow says it.
    with bad_server(answer(403, body=b"Invalid Host header - possible DNS rebinding attack detected")) as server:
        return run("check", "--tracking-uri", server.url, cwd=here).err


def no_store(here: Path) -> str:
    return run("check", cwd=here).err


def misspelled(here: Path) -> str:
    return run("config", "validate", "--set", "export.intervall=5s", cwd=here).err


def port_in_use(here: Path) -> str:
    with continuous(cwd=here) as daemon:
        listen = f"web.listen={daemon.url.removeprefix('http://')}"
        return run("continuous", "--set", listen, "--set", "state.url=sqlite:///other.db", cwd=here).err


def state_in_use(here: Path) -> str:
    with continuous(cwd=here):
        return run("continuous", "--set", f"web.listen=127.0.0.1:{free_port()}", cwd=here).err


def no_daemon(here: Path) -> str:
    return probe("ready", {"MLFLOW_EXPORTER_WEB__LISTEN": f"127.0.0.1:{free_port()}"}, here)[1]


def database_away(here: Path) -> str:
    return run("export-once", "--set", f"state.url=postgresql://me@127.0.0.1:{free_port()}/state", cwd=here).err


def database_refuses(here: Path) -> str:
    with postgresql() as url:
        return run("export-once", "--set", f"state.url={url}", "--set", "state.password=wrong", cwd=here).err


def database_in_use(here: Path) -> str:
    with postgresql() as url, continuous("--set", f"state.url={url}", cwd=here) as daemon:
        daemon.wait_for(lambda: daemon.components()["replica"]["ready"])
        return run("export-once", "--set", f"state.url={url}", cwd=here).err


def given_up(here: Path) -> str:
    with postgresql() as url, continuous("--set", f"state.url={url}", cwd=here) as daemon:
        daemon.wait_for(lambda: daemon.components()["replica"]["ready"])
        engine = create_engine(driver_url(url))
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM mlflow_exporter.replica"))
        engine.dispose()
        daemon.wait_for_log("joins again")
        daemon.wait_for(lambda: daemon.components()["replica"]["ready"])
        return daemon.log.read_text()


TROUBLES: dict[str, Callable[[Path], str]] = {
    "cannot be reached: connection refused": refused,
    "does not answer under this host name": other_host,
    "no MLflow store at": no_store,
    "unknown key; did you mean": misspelled,
    "Address already in use": port_in_use,
    "nothing listens on": no_daemon,
    "the state file ... is in use by process": state_in_use,
    "the state database ... cannot be used now": database_away,
    "the state database ... refuses to be used": database_refuses,
    "the state database ... is in use by": database_in_use,
    "the other replicas have given this one up": given_up,
}


def test_every_message_of_the_page_is_made_below() -> None:
    assert rows(section(PAGE, "What it prints")).keys() == TROUBLES.keys()


@pytest.mark.parametrize("message", TROUBLES)
def test_the_software_says_what_the_page_says(message: str, tmp_path: Path) -> None:
    said = TROUBLES[message](tmp_path)
    assert re.search(".*".join(map(re.escape, message.split("..."))), said), said
