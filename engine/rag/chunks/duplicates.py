"""Chunks that say what an earlier one says, word for word or nearly.

Near-duplicates are found by MinHash and locality-sensitive hashing (Broder 1997, "On the resemblance and containment of
documents"; Leskovec et al., "Mining of Massive Datasets", section 3.4), and the Jaccard index of their sets of word
5-grams is then counted. Not with datasketch 2.0, which has the same parts: for a threshold of .9 its choice of bands
misses two thirds of the pairs at the threshold, it hashes some 1,400 chunks a second, and its tables take kilobytes of
memory a chunk.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import regex
from numpy.typing import NDArray

from engine.errors import InvalidInput, RunFailed
from engine.rag.chunks.buckets import Buckets
from engine.rag.chunks.tokens import UNSPACED
from engine.rag.records import Chunk

Hashes = NDArray[np.uint64]

_GRAM = 5
_RECALL = 0.99  # wanted at the threshold
_MOST_HASHES = 96
_MOST_CANDIDATES = 64  # rows that are kept for a band, and compared with a chunk
_MOST_WORDS = 1 << 18  # words whose hashes are remembered
_AT_ONCE = 1024  # 5-grams hashed at once
_SEED = 20_261_126
_TRUE = np.ones(1, np.bool_)
_UNSPACED = regex.compile(rf"[{UNSPACED}]")


class Duplicates:
    """The chunks seen so far. Which of equal ones stays depends on their order alone: the first does.

    Memory at a threshold of .9 (10 bands): 0.5 to 0.7 kB a chunk that stays, 1.2 kB while the table doubles; 0.2 kB
    without near-duplicates. The sets of 5-grams, 1.6 kB for a chunk of 200 words, are in a temporary file, which is
    gone with the process.

    A chunk is compared with at most 64 earlier ones, those that share most bands, so that texts which all resemble each
    other cost no more than that.

    Two chunks are copies if their Jaccard index is at least `near`: never a pair below it. A pair at the threshold is
    found with a probability of `recall`, and one above with a higher one. Neighbours that overlap share a part of
    their text like any other two.

    Arguments:
        near: share of the word 5-grams of two chunks, of those that either has, from which the later is a copy. None:
            only where all words are equal, whatever their case and the white space between them. Texts of fewer than
            5 words are only compared so.
        folder: for the temporary file; None: the system's.

    Raises:
        InvalidInput: if `near` is 0.
    """

    def __init__(self, near: float | None, folder: Path | None = None) -> None:
        if near == 0:
            raise InvalidInput(
                "near_duplicates is 0, so every chunk would be a copy of the first.",
                hint="Give a share above 0, or null to compare whole texts only.",
            )
        self._ids: list[str] = []
        self._equal = Buckets(_MOST_CANDIDATES)
        self._digests = np.zeros((1024, 2), np.uint64)
        self._near = None if near is None else _Near(near, folder)

    @property
    def recall(self) -> float:
        """The probability with which a pair at the threshold is found."""
        return 1.0 if self._near is None else self._near.recall

    def add(self, chunk: Chunk) -> str | None:
        """Return the id of the earlier chunk that a chunk copies; None: it is new, and later ones may copy it.

        Raises:
            RunFailed: if the temporary file cannot be written.
        """
        words = _words(chunk.text)
        whole = hashlib.blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        digest = np.frombuffer(whole, "<u8")
        key = [int(digest[0])]
        for row in self._equal.find(key):
            if (self._digests[row] == digest).all():
                return self._ids[row]
        row = len(self._ids)
        if self._near and len(words) >= _GRAM:
            original = self._near.add(words, row)
            if original is not None:
                return self._ids[original]
        self._ids.append(chunk.id)
        self._equal.add(key, row)
        if row == len(self._digests):
            self._digests = np.concatenate([self._digests, np.zeros_like(self._digests)])
        self._digests[row] = digest
        return None


class _Near:
    """Sets of word 5-grams, found again by what they share."""

    def __init__(self, near: float, folder: Path | None) -> None:
        self._near = near
        self._bands, self._rows = bands_of(near)
        constants = _mixed(np.arange(3 * self._bands * self._rows, dtype=np.uint64) + np.uint64(_SEED))
        factors, terms, weights = constants.reshape(3, -1)
        self._factors = factors[:, None] | np.uint64(1)  # [hashes, 1]; odd: no two 5-grams fall together
        self._terms = terms[:, None]  # [hashes, 1]
        self._weights = weights | np.uint64(1)  # [hashes]
        self._buckets = Buckets(_MOST_CANDIDATES)
        self._word_hashes = _WordHashes()
        self._sets = _Sets(folder)

    @property
    def recall(self) -> float:
        return float(1 - (1 - self._near**self._rows) ** self._bands)

    def add(self, words: list[str], row: int) -> int | None:
        """Return the first row that a text copies, as far as found; None: it is new, and is added as `row`."""
        grams = self._grams(words)
        keys = self._keys(grams)
        bands = Counter(self._buckets.find(keys))
        # Those that share the most bands: they have the highest index.
        likely = sorted(bands, key=lambda other: (-bands[other], other))[:_MOST_CANDIDATES]
        for other in sorted(likely):
            if self._is_copy(grams, self._sets[other]):
                return other
        self._sets.add(row, grams)
        self._buckets.add(keys, row)
        return None

    def _grams(self, words: list[str]) -> Hashes:
        """Return the set of the hashes of all 5-grams, ascending. Distinct ones differ but for a chance of 2^-64."""
        hashes = self._word_hashes.of(words)
        total = np.zeros(len(words) - _GRAM + 1, np.uint64)
        for place in range(_GRAM):
            total += hashes[place : len(words) - _GRAM + 1 + place] * _PLACES[place]
        grams = np.sort(_mixed(total))
        return grams[np.concatenate([_TRUE, grams[1:] != grams[:-1]])]

    def _keys(self, grams: Hashes) -> list[int]:
        """Return a key for each band of hashes."""
        least = np.full(len(self._factors), np.iinfo(np.uint64).max, np.uint64)
        for start in range(0, len(grams), _AT_ONCE):  # a long text, in little memory
            hashed = self._factors * grams[start : start + _AT_ONCE]
            hashed += self._terms
            np.minimum(least, hashed.min(axis=1), out=least)
        # Weights differ between bands, so that equal hashes of two bands are two keys.
        keys: Hashes = _mixed((least * self._weights).reshape(self._bands, -1).sum(axis=1))
        return [int(key) for key in keys]

    def _is_copy(self, grams: Hashes, other: Hashes) -> bool:
        fewer, more = sorted((len(grams), len(other)))
        if fewer < self._near * more:
            return False
        shared = len(np.intersect1d(grams, other, assume_unique=True))
        return shared >= self._near * (fewer + more - shared)


class _WordHashes(dict[str, bytes]):
    """64-bit hashes of words, the same in every process."""

    def of(self, words: list[str]) -> Hashes:
        if len(self) > _MOST_WORDS:
            self.clear()
        return np.frombuffer(b"".join(map(self.__getitem__, words)), "<u8")

    def __missing__(self, word: str) -> bytes:
        value = self[word] = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return value


class _Sets:
    """Sets of 64-bit numbers by row, in a temporary file."""

    def __init__(self, folder: Path | None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - open as long as the object is
        self._ends = np.zeros(1024, np.int64)  # by row; bytes
        self._rows = 0

    def add(self, row: int, numbers: Hashes) -> None:
        """Add a set. Rows come ascending; those left out have none."""
        while row >= len(self._ends):
            self._ends = np.concatenate([self._ends, np.zeros_like(self._ends)])
        end = int(self._ends[self._rows - 1]) if self._rows else 0
        self._ends[self._rows : row] = end
        content = numbers.tobytes()
        try:
            written = os.pwrite(self._file.fileno(), content, end)
        except OSError as error:
            raise _no_room(error) from error
        if written < len(content):
            raise _no_room(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        self._ends[row] = end + len(content)
        self._rows = row + 1

    def __getitem__(self, row: int) -> Hashes:
        start = int(self._ends[row - 1]) if row else 0
        content = os.pread(self._file.fileno(), int(self._ends[row]) - start, start)
        return np.frombuffer(content, np.uint64)


def bands_of(near: float) -> tuple[int, int]:
    """Return how many bands of how many hashes find a pair at a threshold with a probability of .99.

    A pair with Jaccard index J shares a band of r hashes with probability J^r, and one of b with 1 - (1 - J^r)^b
    ("Mining of Massive Datasets", section 3.4.2). The longest bands with at most 96 hashes in all, for these have the
    fewest pairs below the threshold. Below .05, 96 bands of one hash find fewer pairs.
    """
    choice = (_MOST_HASHES, 1)
    for rows in range(1, _MOST_HASHES + 1):
        bands = math.ceil(math.log(1 - _RECALL) / math.log1p(-(near**rows))) if near < 1 else 1
        if bands * rows > _MOST_HASHES:
            break
        choice = (bands, rows)
    return choice


def _words(text: str) -> list[str]:
    """Return the words of a text, in one case; a script without spaces has one a character."""
    folded = text.casefold()
    if not folded.isascii() and _UNSPACED.search(folded):
        folded = _UNSPACED.sub(r" \g<0> ", folded)
    return folded.split()


def _mixed(numbers: Hashes) -> Hashes:
    """Return 64-bit numbers spread evenly, each to another one (Steele et al. 2014, SplitMix64)."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _no_room(error: OSError) -> RunFailed:
    return RunFailed(
        f"the sets of 5-grams that tell near-duplicates cannot be kept: {error.strerror}.",
        hint="Free space there, set TMPDIR to a larger disk, or set corpus.near_duplicates to null.",
        where=tempfile.gettempdir(),
    )


_PLACES = _mixed(np.arange(_GRAM, dtype=np.uint64)) | np.uint64(1)  # what a word counts, by its place in a 5-gram
