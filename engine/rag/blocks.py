"""A block of texts embedded so that a killed process loses the batch it was at, and nothing else.

While a block is embedded, KEY.part grows by one record a batch: the numbers of its texts, their vectors, a checksum.
What a kill or a power cut has torn is cut off when the block goes on. KEY.npy takes its place when all is there.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import RunFailed
from engine.job import durable
from engine.rag.calibration import Vectors
from engine.rag.embedder import Batch, problem_rows

_HEAD = struct.Struct("<4sIII")  # mark, texts, numbers of a vector, CRC-32 of what follows
_MARK = b"plv1"
_SYNC_SECONDS = 30.0


class BlockEncoder(Protocol):
    """What a block needs of an embedder."""

    @property
    def fingerprint(self) -> str:
        """Differs where vectors may."""
        ...

    @property
    def precision(self) -> str:
        """What it computes in."""
        ...

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        ...

    def passage_batches(self, texts: Sequence[str], done: NDArray[np.bool_] | None = None) -> Iterator[Batch]:
        """Yield the texts that are not done, in batches."""
        ...


@dataclass(frozen=True, slots=True)
class Block:
    """A block that is embedded."""

    file: Path  # KEY.npy: float32 [texts, dimension], in the order of the texts
    problems: tuple[int, ...]  # texts without a direction, whose rows are NaN
    embedded: int  # texts that this call embedded; an earlier one did the rest


def block_key(texts: Sequence[str], encoder: BlockEncoder) -> str:
    """Return the name of a block: the SHA-256 of embedder, precision and texts."""
    total = hashlib.sha256(f"{encoder.fingerprint}\0{encoder.precision}\0{len(texts)}\n".encode())
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        total.update(b"%d:" % len(data))
        total.update(data)
    return total.hexdigest()


def is_begun(folder: Path, key: str) -> bool:
    """Whether an earlier call has left vectors of a block that is not whole yet."""
    part = _part(folder, key)
    return part.exists() and part.stat().st_size > 0


def embed_block(
    encoder: BlockEncoder,
    texts: Sequence[str],
    folder: Path,
    key: str,
    *,
    told: Callable[[int, int], None],
    stop: Callable[[], bool],
) -> Block | None:
    """Embed the texts that no earlier call has embedded, and put all vectors into FOLDER/KEY.npy.

    Args:
        key: of `block_key`.
        told: called after each batch, with its texts and tokens.
        stop: asked after each batch whether to end there.

    Returns:
        None if it was stopped; the next call goes on.

    Raises:
        RunFailed: if the folder cannot be written, as on a full disk, or another process embeds the same block.
    """
    file = folder / f"{key}.npy"
    shape = (len(texts), encoder.dimension)
    with _told_of_the_disk(folder):
        found = _read(file, shape)
        if found is not None:
            return Block(file, tuple(problem_rows(found)), 0)
        folder.mkdir(parents=True, exist_ok=True)
        with _Part(_part(folder, key), shape) as part:
            found = _read(file, shape)  # another process may have ended just now
            if found is not None:
                return Block(file, tuple(problem_rows(found)), 0)
            embedded = 0
            for batch in encoder.passage_batches(texts, part.done) if not part.done.all() else ():
                part.append(batch.rows, batch.vectors)
                embedded += len(batch.rows)
                told(len(batch.rows), batch.tokens)
                if not part.done.all() and stop():
                    part.sync()
                    return None
            _write(file, part.vectors)
            part.path.unlink()
    return Block(file, tuple(problem_rows(part.vectors)), embedded)


class _Part:
    """KEY.part, open in one process at a time."""

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self.path = path
        self.vectors: Vectors = np.full(shape, np.nan, np.float32)
        self.done: NDArray[np.bool_] = np.zeros(shape[0], np.bool_)
        self._synced = time.monotonic()

    def __enter__(self) -> _Part:
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunFailed(
                    "another process embeds the same block of texts.",
                    hint="Wait until it has ended, or end it.",
                    where=str(self.path),
                ) from error
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # a file system without locks
                    raise
            os.ftruncate(self._file, self._take(self.path.read_bytes()))
        except BaseException:
            os.close(self._file)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def _take(self, data: bytes) -> int:
        """Take over the whole records, and return where they end."""
        place, (texts, dimension) = 0, self.vectors.shape
        while len(data) - place >= _HEAD.size:
            mark, count, width, check = _HEAD.unpack_from(data, place)
            start = place + _HEAD.size
            body = data[start : start + count * (4 + 4 * width)]
            if mark != _MARK or width != dimension or len(body) < count * (4 + 4 * width) or zlib.crc32(body) != check:
                break
            rows = np.frombuffer(body, "<u4", count)
            if not count or rows.max() >= texts:
                break
            self.vectors[rows] = np.frombuffer(body, "<f4", offset=4 * count).reshape(count, width)
            self.done[rows] = True
            place = start + len(body)
        return place

    def append(self, rows: NDArray[np.int64], vectors: Vectors) -> None:
        """Write a batch behind the others. What a failure leaves of it, the next process cuts off."""
        body = rows.astype("<u4").tobytes() + np.ascontiguousarray(vectors, "<f4").tobytes()
        _write_all(self._file, _HEAD.pack(_MARK, len(rows), vectors.shape[1], zlib.crc32(body)) + body)
        self.vectors[rows] = vectors
        self.done[rows] = True
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Make what was written survive a power cut."""
        os.fsync(self._file)
        self._synced = time.monotonic()


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _part(folder: Path, key: str) -> Path:
    return folder / f"{key}.part"


def _read(file: Path, shape: tuple[int, int]) -> Vectors | None:
    """Return the vectors of a finished block; None if there is none of that shape."""
    try:
        vectors = np.load(file, allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None  # a damaged one is made anew
    return vectors if vectors.dtype == np.float32 and vectors.shape == shape else None


def _write(file: Path, vectors: Vectors) -> None:
    temporary = file.with_name(f".tmp-{file.name}")
    try:
        with temporary.open("wb") as stream:
            np.save(stream, vectors, allow_pickle=False)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(file)
    durable.sync(file.parent)


@contextmanager
def _told_of_the_disk(folder: Path) -> Iterator[None]:
    """Turn what the system says of the folder into one sentence."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise RunFailed(
            f"the vectors cannot be written: {os.strerror(error.errno) if error.errno else error}.",
            hint="Free some space; what is embedded is kept, and the build goes on there." if full else None,
            where=str(folder),
        ) from error
