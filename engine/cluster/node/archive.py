"""The agent as one file: a zip archive that a Python runs, made of the sources that this companion was sent."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Tuple  # noqa: UP035, for Python 3.9

Sources = Mapping[str, Tuple[str, bool]]  # by full name of a module: its text, and whether it is a package  # noqa: UP006

_MAIN = """\
import pathlib, sys
if sys.argv[1] == "--slurm":
    from engine.cluster.node.slurm_task import main
else:
    from engine.cluster.node.agent import main
sys.exit(main(pathlib.Path(sys.argv[-1])))
"""


def write_archive(path: Path, sources: Sources) -> None:
    """Write the archive so that a reader sees it whole; one that is there stays."""
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr("__main__.py", _MAIN)
        for name, (text, package) in sources.items():
            archive.writestr(name.replace(".", "/") + ("/__init__.py" if package else ".py"), text)
    temporary.replace(path)
