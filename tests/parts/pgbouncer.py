"""A real PgBouncer in front of a real PostgreSQL.

::

    with pgbouncer(server.url, pool_mode="transaction") as url:
        ...                             # url is the same database, through the pool
"""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import make_url

from tests.parts.databases import _directory, _running, _until_it_answers
from tests.parts.programs import free_port, need


@contextmanager
def pgbouncer(url: str, *, pool_mode: str, pool_size: int = 60) -> Iterator[str]:
    """The URL of the database at ``url`` behind a pool of its own, which knows the same user and password."""
    program = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    program = program or need("pgbouncer")
    user = "postgres" if os.geteuid() == 0 else getpass.getuser()
    parts, port = make_url(url), free_port()
    with _directory(user) as directory:
        users, settings = directory / "users", directory / "pgbouncer.ini"
        users.write_text(f'"{parts.username}" "{parts.password}"\n')
        settings.write_text(
            "[databases]\n"
            f"* = host={parts.host} port={parts.port}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = plain\nauth_file = {users}\n"
            f"pool_mode = {pool_mode}\ndefault_pool_size = {pool_size}\nmax_client_conn = 300\n"
            f"logfile = {directory}/pgbouncer.log\npidfile =\n"
        )
        _own([users, settings], user)
        with _running([program, str(settings)], user, directory):
            pooled = parts.set(port=port).render_as_string(hide_password=False)
            _until_it_answers(pooled.replace("://", "+psycopg://"), "SELECT 1")
            yield pooled


def _own(files: list[Path], user: str) -> None:
    for file in files:
        file.chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(file, user)
