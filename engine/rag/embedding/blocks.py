"""Blocks of texts embedded so that a killed process loses the batches it was at, and nothing else.

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
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import RunFailed
from engine.job import durable
from engine.rag.embedding.calibration import Vectors
from engine.rag.embedding.embedder import Batch, problem_rows

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

    def passage_blocks(
        self, blocks: Iterable[tuple[_Part, Sequence[str], NDArray[np.bool_]]], ended: Callable[[], bool]
    ) -> Generator[tuple[_Part, Batch | None], None, None]:
        """Yield the batches of texts that are not done, and None behind those of each block (see `Encoder`)."""
        ...


@dataclass(frozen=True, slots=True)
class Block:
    """A block that is embedded."""

    key: str
    file: Path  # KEY.npy: float32 [texts, dimension], in the order of the texts
    problems: tuple[int, ...]  # texts without a direction, whose rows are NaN
    texts: int
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


def embed_blocks(
    encoder: BlockEncoder,
    wanted: Iterable[tuple[str, Sequence[str]]],
    folder: Path,
    *,
    told: Callable[[int, int], None],
    stop: Callable[[], bool],
) -> Iterator[Block]:
    """Embed blocks one after the other: what no earlier call has embedded. All vectors of one are in FOLDER/KEY.npy.

    Args:
        wanted: key (of `block_key`) and texts of each block; on a GPU a thread takes them, a little ahead.
        told: called after each batch, with its texts and tokens.
        stop: asked after each batch whether to end there. What a GPU has begun by then is kept too.

    Yields:
        each block as it is whole; fewer than were wanted if it was stopped, and the next call goes on.

    Raises:
        RunFailed: if the folder cannot be written, as on a full disk, or another process embeds the same block.
    """
    parts: list[_Part] = []  # begun, and not finished
    ended = False

    def begun() -> Iterator[tuple[_Part, Sequence[str], NDArray[np.bool_]]]:
        for key, texts in wanted:
            if ended:
                break
            with _told_of_the_disk(folder):
                folder.mkdir(parents=True, exist_ok=True)
                part = _Part(folder, key, (len(texts), encoder.dimension))
                parts.append(part)
                part.begin()
            yield part, texts, part.done.copy()

    try:
        with closing(encoder.passage_blocks(begun(), lambda: ended)) as batches:
            for part, batch in batches:
                if batch is None:
                    with _told_of_the_disk(folder):
                        block = part.finished()
                    parts.remove(part)
                    yield block
                    continue
                with _told_of_the_disk(folder):
                    part.append(batch.rows, batch.vectors)
                told(len(batch.rows), batch.tokens)
                ended = ended or stop()
        if ended:
            with _told_of_the_disk(folder):
                for part in parts:
                    part.sync()
    finally:
        for part in parts:
            part.close()


class _Part:
    """A block that is being embedded: KEY.part, open in one process at a time."""

    def __init__(self, folder: Path, key: str, shape: tuple[int, int]) -> None:
        self._key, self._path, self._whole = key, _part(folder, key), folder / f"{key}.npy"
        self.vectors: Vectors = np.full(shape, np.nan, np.float32)
        self.done: NDArray[np.bool_] = np.zeros(shape[0], np.bool_)
        self._file: int | None = None  # None: there is nothing to write
        self._embedded = 0
        self._synced = time.monotonic()

    def begin(self) -> None:
        """Take over what earlier processes have embedded."""
        if self._is_whole():
            return
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFailed(
                "another process embeds the same block of texts.",
                hint="Wait until it has ended, or end it.",
                where=str(self._path),
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # a file system without locks
                raise
        if self._is_whole():  # another process has ended just now
            self._path.unlink(missing_ok=True)
            self.close()
            return
        os.ftruncate(self._file, self._take(self._path.read_bytes()))

    def finished(self) -> Block:
        """Put KEY.npy in the place of the part, unless it was there."""
        if self._file is not None:
            _write(self._whole, self.vectors)
            self._path.unlink()
            self.close()
        return Block(self._key, self._whole, tuple(problem_rows(self.vectors)), len(self.done), self._embedded)

    def close(self) -> None:
        """Let other processes have it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _is_whole(self) -> bool:
        found = _read(self._whole, self.vectors.shape)
        if found is None:
            return False
        self.vectors = found
        self.done[:] = True
        return True

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
        assert self._file is not None
        body = rows.astype("<u4").tobytes() + np.ascontiguousarray(vectors, "<f4").tobytes()
        _write_all(self._file, _HEAD.pack(_MARK, len(rows), vectors.shape[1], zlib.crc32(body)) + body)
        self.vectors[rows] = vectors
        self.done[rows] = True
        self._embedded += len(rows)
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Make what was written survive a power cut."""
        if self._file is not None:
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
            hint="Free some space; what is embedded is kept, and it goes on there." if full else None,
            where=str(folder),
        ) from error
