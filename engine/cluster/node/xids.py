"""What the NVIDIA driver has told the kernel's log of a GPU: Xid errors, where this user may read the log."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any

KERNEL_LOG = "/dev/kmsg"
_RECORD_BYTES = 8192  # no record is longer
_XID = re.compile(r"NVRM: Xid \(PCI:([0-9a-fA-F:]+)[^)]*\): (\d+)(?:, *)?(.*)")
_TEXT = 200  # characters of an error that are kept


class XidLog:
    """The last Xid error of each GPU since the machine started."""

    def __init__(self, path: str = KERNEL_LOG) -> None:
        self._last: dict[str, dict[str, Any]] = {}
        self._descriptor: int | None = None
        with contextlib.suppress(OSError):
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def last(self, bus: str) -> dict[str, Any] | None:
        """Return `code` and `text` of the last error of a GPU. bus: its PCI address, "00000000:3B:00.0"."""
        self._read()
        return self._last.get(_slot(bus))

    def _read(self) -> None:
        while self._descriptor is not None:
            try:
                record = os.read(self._descriptor, _RECORD_BYTES)
            except BrokenPipeError:
                continue  # records were written over before they were read
            except OSError:
                return  # BlockingIOError: there is no more
            if not record:
                return
            for line in record.decode("utf-8", "replace").splitlines():
                found = _XID.search(line)
                if found is not None:
                    self._last[_slot(found[1])] = {"code": int(found[2]), "text": found[3].strip()[:_TEXT]}


def _slot(bus: str) -> str:
    """Return bus and device of a PCI address in one form: the driver and nvidia-smi write the domain differently."""
    domain, _, rest = bus.lower().partition(".")[0].partition(":")
    return f"{domain[-4:]}:{rest}"
