"""The folder of a sentence-transformers model: checked, hashed, loaded."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import InvalidInput

_HASHED = (".json", ".txt", ".model", ".safetensors")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_UNUSED = ("onnx", "openvino")  # folders of the same weights for other programs
_FORMAT = b"plumbline embedder 1"
_KIND = "Give a folder that SentenceTransformer.save_pretrained wrote."


def load_model(folder: Path, device: str) -> Any:
    """Return the SentenceTransformer of a folder, in fp32, for inference. Runs no code of the folder's.

    Raises:
        InvalidInput: if the folder holds none, or weights, tokenizer or settings are missing or damaged.
    """
    check_folder(folder)
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        with missing_weights() as missing:
            model = SentenceTransformer(
                str(folder),
                device=device,
                local_files_only=True,
                model_kwargs={"dtype": "float32", "use_safetensors": True},
            )
    except Exception as error:  # every library below has exceptions of its own
        if type(error).__name__ == "OutOfMemoryError":
            raise
        raise InvalidInput(f"the embedder cannot be loaded: {_reason(error)}", hint=_KIND, where=str(folder)) from error
    if missing:
        raise InvalidInput(
            f"{len(missing)} weights of the embedder are missing, {missing[0]} first.",
            hint="Copy the whole model again.",
            where=str(folder),
        )
    _check_tokenizer(model, folder)
    return model.eval()


def fingerprint(folder: Path, facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that decides over a vector but its precision: files of the model, and `facts`.

    Files count by their place within the folder and their content: weights, tokenizer, settings of the modules.
    What else lies there does not, so a copy under another name has the same.
    """
    total = hashlib.sha256(_FORMAT)
    for path in _files(folder):
        if path.suffix in _HASHED:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{path.relative_to(folder).as_posix()}\0{digest}\n".encode())
    total.update(json.dumps(dict(facts), sort_keys=True).encode())
    return total.hexdigest()


def check_folder(folder: Path) -> None:
    """Raise InvalidInput if a folder holds no sentence-transformers model, or one that only its own code can load."""
    where = str(folder)
    if not folder.is_dir():
        raise InvalidInput("there is no such folder of an embedder.", hint=_KIND, where=where)
    modules = _json(folder / "modules.json", "it is no sentence-transformers model: modules.json is missing.")
    if not isinstance(modules, list) or not modules or not all(_is_module(module) for module in modules):
        raise InvalidInput("modules.json does not list modules.", hint=_KIND, where=where)
    foreign = [module["type"] for module in modules if not module["type"].startswith("sentence_transformers.")]
    if foreign:
        raise InvalidInput(
            f"the embedder needs code of its own, {foreign[0]}, and no code of a model is run.",
            hint="Choose one that is made of the modules of sentence-transformers.",
            where=where,
        )
    settings = folder / "config_sentence_transformers.json"
    kind = _json(settings, "").get("model_type", "SentenceTransformer") if settings.exists() else "SentenceTransformer"
    if kind != "SentenceTransformer":
        raise InvalidInput(f"it is a {kind}, not an embedder.", hint=_KIND, where=where)
    files = list(_files(folder))
    for path in files:
        if path.suffix in _PICKLES and not any(path.parent.glob("*.safetensors")):
            raise InvalidInput(
                f"the embedder keeps weights in {path.relative_to(folder)}, a pickle, which can run code.",
                hint="Load it where you trust it, and save it with SentenceTransformer.save_pretrained.",
                where=where,
            )


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") or part in _UNUSED for part in parts):
            yield path


def _is_module(module: object) -> bool:
    return isinstance(module, dict) and all(isinstance(module.get(key), str) for key in ("name", "path", "type"))


def _json(path: Path, missing: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidInput(missing, hint=_KIND, where=str(path.parent)) from error
    except (OSError, ValueError) as error:
        raise InvalidInput(f"it cannot be read: {_reason(error)}", hint=_KIND, where=str(path)) from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    return first if first.endswith((".", "!", "?")) else f"{first}."


def _check_tokenizer(model: Any, folder: Path) -> None:
    tokenizer: Any = getattr(model, "tokenizer", None)
    if not hasattr(tokenizer, "all_special_ids"):
        return  # modules of words and static embeddings have other ones, and these are never made up
    # transformers makes a tokenizer of special tokens alone where the files of one are missing.
    if not set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids):
        raise InvalidInput(
            "the embedder's tokenizer knows no words: its files are missing.", hint=_KIND, where=str(folder)
        )
    network: Any = getattr(model, "transformers_model", None)
    rows = network.get_input_embeddings().num_embeddings if network is not None else len(tokenizer)
    if max(tokenizer.get_vocab().values()) >= rows:
        raise InvalidInput(
            f"the tokenizer has {len(tokenizer)} tokens and the model {rows}: they do not belong together.",
            hint="Copy the whole model again.",
            where=str(folder),
        )


class _Missing(logging.Handler):
    """Collects the weights that transformers found no values for, and so drew at random."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        for line in record.getMessage().splitlines():
            name, _, status = line.partition("|")
            # A pooler is left out of many models: what it computes is not used.
            if status.strip().startswith("MISSING") and "pooler" not in name:
                self.names.append(name.strip())


@contextmanager
def missing_weights() -> Iterator[list[str]]:
    """Yield what fills with the names of the weights that are missing; transformers only warns of them."""
    logger = logging.getLogger("transformers.modeling_utils")
    handler, level, passes = _Missing(), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield handler.names
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = passes
