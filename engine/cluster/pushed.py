"""What is sent to a node so that it runs our programs: the sources of `engine.cluster.node`, and how to start them.

With them goes the one file outside that agents read a format from.
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.telemetry import progress

# Reads so many bytes from its input, and imports from them as from files.
_BOOTSTRAP = """\
import importlib.util,json,os,sys,zlib
size,text=int(sys.argv[1]),b''
while len(text)<size:
  text+=os.read(0,size-len(text)) or sys.exit('the connection was closed')
sources=json.loads(zlib.decompress(text))
class Pushed:
  @classmethod
  def find_spec(cls,name,path=None,target=None):
    if name in sources: return importlib.util.spec_from_loader(name,cls,is_package=sources[name][1])
  @staticmethod
  def create_module(spec): pass
  @staticmethod
  def exec_module(module): exec(compile(sources[module.__name__][0],module.__name__,'exec'),module.__dict__)
sys.meta_path.insert(0,Pushed)
from engine.cluster.node.companion import main
main(sources)
"""


Sources = Mapping[str, tuple[str, bool]]  # by full name of a module: its text, and whether it is a package


def sources() -> Sources:
    """Return the modules that run on nodes."""
    package = Path(__file__).parent / "node"
    found: dict[str, tuple[str, bool]] = {"engine": ("", True), "engine.cluster": ("", True)}
    for path in sorted(package.glob("*.py")):
        own = path.stem == "__init__"
        name = "engine.cluster.node" if own else f"engine.cluster.node.{path.stem}"
        found[name] = (path.read_text("utf-8"), own)
    found["engine.telemetry"] = ("", True)
    found[progress.__name__] = (Path(progress.__file__).read_text("utf-8"), False)
    return found


@functools.cache
def packed() -> bytes:
    """Return `sources()` as the bootstrap reads them."""
    return zlib.compress(json.dumps(sources()).encode(), 9)


def companion_command(python: str) -> Sequence[str]:
    """Return the command that reads `packed()` from its input and is the companion then."""
    return [python, "-I", "-S", "-c", _BOOTSTRAP, str(len(packed()))]
