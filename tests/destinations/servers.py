"""Database servers for the tests, on loopback: each a process of its own, with its data in a folder that is removed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from s3_servers import free_ports, listens, running

# Where the Debian package puts what `postgres` and `initdb` are.
DEBIAN_FOLDERS = "/usr/lib/postgresql/*/bin"

# A Python with `fakesnow[server]==0.12.1`; see fakesnow_server.py for why it is another one than that of the tests.
FAKESNOW_PYTHON = "FAKESNOW_PYTHON"

POSTGRES_USER = "ometria"


def postgres_folder() -> Path | None:
    """Where PostgreSQL's programs are; the newest, if there are several."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = Path("/").glob(DEBIAN_FOLDERS.lstrip("/"))
    return max(folders, key=lambda folder: int(folder.parent.name), default=None)


@contextmanager
def postgres(programs: Path) -> Iterator[str]:
    """A PostgreSQL with an empty database; its connection string."""
    # it refuses to run as root, and another user cannot enter pytest's folders
    user = _first_user("postgres", "nobody") if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="ometria_postgres_"))
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    (port,) = free_ports(1)
    # nothing of it outlives the tests: not even a crash of the machine must be survived
    careless = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "unix_socket_directories=")
    try:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", POSTGRES_USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
            cwd=folder,
            user=user,
            check=True,
            capture_output=True,
        )
        command = [str(programs / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port)]
        for setting in careless:
            command += ["-c", setting]
        connection = f"postgresql://{POSTGRES_USER}:none@127.0.0.1:{port}/postgres"
        with running(command, folder, lambda: _takes_connections(connection), user=user, end=signal.SIGQUIT):
            yield connection
    finally:
        shutil.rmtree(folder)


@contextmanager
def fakesnow(python: str, folder: Path) -> Iterator[str]:
    """An emulated Snowflake; dlt's connection string."""
    (port,) = free_ports(1)
    command = [python, str(Path(__file__).with_name("fakesnow_server.py")), str(port)]
    with running(command, folder, lambda: listens(port)):
        yield f"snowflake://tester:invented@emulated/ometria_db?host=127.0.0.1&port={port}&protocol=http"


def _first_user(*names: str) -> str:
    import pwd  # noqa: PLC0415  there is none on Windows

    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in names if name in known)


def _takes_connections(connection: str) -> bool:
    try:
        psycopg2.connect(connection).close()
    except psycopg2.OperationalError:
        return False
    return True
