"""A folder with a language model: whether it is one, its tokenizer, its network, and how much it can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from engine.errors import InvalidInput, NotFound

Precision = Literal["auto", "fp32", "bf16", "fp16"]

_DTYPES = {"auto": "auto", "fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}  # auto: that of the folder


def require_model_folder(path: Path) -> None:
    """Raise NotFound if there is no Hugging Face model in the folder."""
    if not (path / "config.json").is_file():
        raise NotFound(
            "there is no model: config.json is missing.",
            hint="Give model.path a folder in the Hugging Face format.",
            where=str(path),
        )


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a folder, padding on the right, with a pad token.

    Raises:
        InvalidInput: if it cannot be loaded, or has no end-of-sequence token.
    """
    from transformers import AutoTokenizer

    from engine.job.runtime import first_line

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # every library below has exceptions of its own
        reason = first_line(error).rstrip(".")
        raise InvalidInput(f"the tokenizer cannot be loaded: {reason}.", where=str(folder)) from error
    if tokenizer.eos_token_id is None:
        raise InvalidInput("the tokenizer has no end-of-sequence token.", where=str(folder))
    if tokenizer.pad_token_id is None:
        # Pads carry no loss and nothing attends to them, so the real end-of-sequence keeps its label.
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def require_vocabulary(network: Any, tokenizer: Any) -> None:
    """Raise InvalidInput if the tokenizer has more tokens than the model embeds."""
    rows = network.config.get_text_config().vocab_size
    if len(tokenizer) > rows:
        raise InvalidInput(
            f"the tokenizer has {len(tokenizer)} tokens, the model embeds {rows}: they do not belong together.",
            where=network.config.name_or_path,
        )


def longest_sequence(network: Any) -> int | None:
    """Return how many positions the model has, or None if it does not say."""
    return getattr(network.config.get_text_config(), "max_position_embeddings", None)


def load_causal(folder: Path, tokenizer: Any, *, precision: Precision = "auto", device: str | None = None) -> Any:
    """Return the causal language model of a folder, ready to write. Nothing is downloaded, no code of the folder runs.

    device: of torch; None: the GPU if there is one.

    Raises:
        NotFound: if there is no model.
        InvalidInput: if it cannot be loaded, or is not the tokenizer's.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from engine.job.runtime import first_line

    require_model_folder(folder)
    try:
        network, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=_DTYPES[precision], local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise
        raise InvalidInput(
            f"the model cannot be loaded: {first_line(error).rstrip('.')}.", where=str(folder)
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise InvalidInput(
            f"{len(missing)} weights of the model are missing, {missing[0]} first.",
            hint="Is it a causal language model?",
            where=str(folder),
        )
    require_vocabulary(network, tokenizer)
    return network.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def ends_of_answers(network: Any, tokenizer: Any) -> tuple[int, ...]:
    """Return the tokens that end an answer beside the tokenizer's end of sequence: a chat model may end turns so."""
    ends = getattr(network.generation_config, "eos_token_id", None)
    listed = ends if isinstance(ends, list) else [] if ends is None else [ends]
    return tuple(sorted({int(end) for end in listed} - {tokenizer.eos_token_id}))
