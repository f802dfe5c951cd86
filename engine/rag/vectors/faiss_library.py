"""faiss, imported where it is used: most of what SWIG makes is missing in its type stubs, so it is untyped here."""

from __future__ import annotations

import importlib
from typing import Any


def library() -> Any:
    """Return the module."""
    return importlib.import_module("faiss")
