"""Where the programs that a testbed needs are on this machine."""

from __future__ import annotations

import os
import shutil

INSTALL_SSHD = "sudo apt-get install openssh-server (Debian, Ubuntu), sudo dnf install openssh-server (Fedora, RHEL)"


def program_path(name: str) -> str | None:
    """Return where a program is; those of administrators are often not on the PATH of ordinary users."""
    folders = (*os.get_exec_path(), "/usr/sbin", "/usr/local/sbin", "/sbin")
    return shutil.which(name, path=os.pathsep.join(folders))


def sshd_path() -> str | None:
    """Return where the OpenSSH daemon is."""
    return program_path("sshd")
