"""Arrays of an index on disk: checked before they are believed, memory-mapped, never pickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput


def load_array(file: Path, dtype: Any, dimensions: int = 1) -> NDArray[Any]:
    """Return the array of a file, memory-mapped.

    Raises:
        InvalidInput: if the file is none, or holds another type or other dimensions.
    """
    try:
        loaded: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header goes through Python's tokenizer and parser, which raise all kinds
        what = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise InvalidInput(f"is damaged: {what}.", hint="Build the index again.", where=str(file)) from error
    if loaded.dtype != dtype or loaded.ndim != dimensions:
        raise InvalidInput(
            f"is damaged: it holds {loaded.dtype} {list(loaded.shape)}.",
            hint="Build the index again.",
            where=str(file),
        )
    return loaded
