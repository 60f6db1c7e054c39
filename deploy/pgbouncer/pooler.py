"""PgBouncer as `pgbouncer.ini` beside this file has it, but for its places: for rehearsals and tests."""

import configparser
import os
import shutil
from pathlib import Path

from core_service.embedded_postgres import write_private

FOLDER = Path(__file__).parent
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
"""None: not installed; Debian's package is `pgbouncer`."""
DATABASE = USER = "novapay"


def configure(
    own: Path, *, server_port: int, port: int, password: str, server_connections: int | None = None
) -> Path:
    """Writes the file of a pooler that keeps everything in the folder `own`; where it is.

    `server_connections`: at most so many to the server; None: as many as the file says.
    """
    settings = configparser.RawConfigParser()
    settings.read(FOLDER / "pgbouncer.ini")
    served = settings["databases"][DATABASE]
    settings["databases"][DATABASE] = served.replace("port=5432", f"port={server_port}")
    settings["pgbouncer"].update(
        {
            "listen_port": str(port),
            "unix_socket_dir": str(own),
            "logfile": str(own / "log"),
            "pidfile": str(own / "pid"),
            "auth_file": str(own / "userlist.txt"),
        }
    )
    if server_connections is not None:
        settings["pgbouncer"]["default_pool_size"] = str(server_connections)
    file = own / "pgbouncer.ini"
    with file.open("w") as opened:
        settings.write(opened)
    write_private(own / "userlist.txt", f'"{USER}" "{password}"\n')
    return file
