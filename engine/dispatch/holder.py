"""Who holds the slots of a database's runs, for whoever else wants them."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path


def holder_of(database: Path) -> dict[str, str]:
    """Return user, host, and what names the database across machines."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    host = socket.gethostname()
    return {"user": user, "host": host, "database": f"{user}@{host}:{database}"}
