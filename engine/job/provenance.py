"""What an exported folder tells of where it comes from: `plumbline.json` beside the weights.

It holds the spec and its hash, the attempt and the step, the SHA-256 of all data and of the models that were read, the
version of the code, those of the libraries, and the fingerprint of the tokenizer. There is no time in it: the same
attempt leaves the same file.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from engine.job import durable
from engine.spec.canonical import spec_hash
from engine.spec.models import AnySpec
from engine.spec.resolve import paths_by_key

FILE = "plumbline.json"
FORMAT = 1

_LIBRARIES = (
    "torch",
    "transformers",
    "deepspeed",
    "tokenizers",
    "peft",
    "datasets",
    "numpy",
    "safetensors",
    "sentence-transformers",
    "faiss-cpu",
)
_GIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Provenance:
    """The document of one export."""

    document: Mapping[str, Any]

    def write(self, folder: Path) -> None:
        """Write it into the folder. Raises OSError."""
        durable.write_json(folder / FILE, self.document)


class Origin:
    """What the exports of an attempt come from. Rank 0 has one.

    A thread hashes the data and the models that the spec names from the beginning on, while the run loads and trains:
    they may be large, and at the end of the run may have been changed. `of` waits for it.
    """

    def __init__(self, spec: AnySpec, run_dir: Path, attempt: int) -> None:
        self._spec, self._run, self._attempt = spec, run_dir.name, attempt
        self._read: Future[dict[str, Any]] = Future()
        # A daemon: a run that fails does not wait for it.
        threading.Thread(target=self._look, name="provenance", daemon=True).start()

    def of(self, kind: str, step: int, **parts: Any) -> Provenance:
        """Return the provenance of an artifact.

        Args:
            kind: model, reward_model, policy, index, …
            step: after which it was made.
            parts: what is to be told of the artifact itself, as its tokenizer.
        """
        spec = self._spec
        return Provenance(
            {
                "format": FORMAT,
                "kind": kind,
                "experiment": spec.name,
                "run": self._run,
                "attempt": self._attempt,
                "step": step,
                "spec_hash": spec_hash(spec),
                "spec": spec.model_dump(mode="json"),
                **self._read.result(),
                **parts,
            }
        )

    def _look(self) -> None:
        try:
            self._read.set_result({**_inputs(paths_by_key(self._spec)), **_software()})
        except BaseException as error:  # for whoever waits
            self._read.set_exception(error)


def read(folder: Path) -> dict[str, Any] | None:
    """Return what a folder tells of where it comes from; None if it tells nothing."""
    return durable.read_json(folder / FILE)


def _inputs(paths: Mapping[str, str]) -> dict[str, Any]:
    """Return what is to be told of the models and indexes (`parents`) and of other files (`data`) that a spec names.

    `sha256` of a file is that of its content, of a folder that of `folder_hash`: over the names and contents of all
    files in it, weights too. It is null with a `problem` beside it where a file cannot be read.
    """
    known: dict[str, dict[str, Any]] = {}
    found: dict[str, dict[str, Any]] = {"parents": {}, "data": {}}
    for key, text in paths.items():
        path = Path(text)
        is_model = (path / "config.json").is_file() or (path / FILE).is_file()
        if text not in known:
            known[text] = {"path": text, **_hash(path), **(_made_by(path) if is_model else {})}
        found["parents" if is_model else "data"][key] = known[text]
    return found


def _hash(path: Path) -> dict[str, Any]:
    try:
        if path.is_dir():
            return {"sha256": durable.folder_hash(path)}
        with path.open("rb") as file:
            return {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError as error:
        return {"sha256": None, "problem": f"cannot be read: {error.strerror}"}


def _made_by(folder: Path) -> dict[str, Any]:
    """Return what a model that Plumbline exported tells of itself, and the SHA-256 of its provenance file."""
    document = read(folder)
    if document is None:
        return {}
    content = (folder / FILE).read_bytes()
    told = {key: document.get(key) for key in ("kind", "experiment", "run", "step", "spec_hash")}
    return {**told, "provenance": hashlib.sha256(content).hexdigest()}


def _software() -> dict[str, Any]:
    return {
        "code": {"plumbline": _version("plumbline"), **_commit(Path(__file__).parents[2])},
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit(checkout: Path) -> dict[str, Any]:
    """Return the commit that runs and whether the code was changed since; nothing where it is no checkout."""
    if not (checkout / ".git").exists():
        return {}
    commit = _git(checkout, "rev-parse", "HEAD")
    changes = _git(checkout, "status", "--porcelain", "--", "engine")
    return {} if commit is None or changes is None else {"commit": commit, "changed": bool(changes)}


def _git(checkout: Path, *arguments: str) -> str | None:
    # Without optional locks: to look must not get in the way of who works there.
    command = ["git", "--no-optional-locks", "-C", str(checkout), *arguments]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip()
