"""The Linux system calls that make a node out of a process; Python has names for them only since 3.12."""

from __future__ import annotations

import ctypes
import os

NEW_MOUNTS, NEW_HOSTNAME, NEW_IPC, NEW_PIDS, NEW_NETWORK = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
NO_SUID, NO_DEVICES, NO_PROGRAMS, BIND = 2, 4, 8, 4096

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(namespaces: int) -> None:
    """Leave namespaces for new ones (unshare(2)). Raises OSError."""
    if _libc.unshare(namespaces):
        raise _error("namespaces")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount a file system (mount(2)). Raises OSError."""
    if _libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()):
        raise _error(target)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)
