"""Lexical search: BM25 over the chunks, in files that are mapped into memory.

Scores are computed when the index is built, and a query adds up those of its terms (Lù 2024, "BM25S: Orders of
magnitude faster lexical search via eager sparse scoring", arXiv:2407.03618). They are Lucene's (Kamphuis et al. 2020,
"Which BM25 do you mean?", table 1, "Lucene (accurate)"):

    score(q, d) = Σ_t∈q ln(1 + (N − df_t + ½) / (df_t + ½)) · tf_td / (tf_td + k1 · (1 − b + b · |d| / avg|d|))

Neither building nor searching loads anything but numpy.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput, NotFound, Refused
from engine.rag.arrays import load_array
from engine.rag.searching.terms import Analysis

# Lucene's defaults (BM25Similarity).
K1 = 1.2
B = 0.75

# Of the files and of the way in which texts become terms: an index of another format is not read.
_FORMAT = 1
_SETTINGS = "settings.json"
_AGAIN = "Build the index again."
# Postings are sorted by term, then row. `terms` is the UTF-8 of all terms, sorted, one after the other.
_ARRAYS = {
    "terms": np.uint8,
    "term_starts": np.int64,
    "posting_starts": np.int64,
    "rows": np.int32,
    "scores": np.float32,
}

Found = tuple[NDArray[np.float32], NDArray[np.int64]]  # scores, descending; rows, ascending where scores are equal


def build_lexical(texts: Iterable[str | None], folder: Path, analysis: Analysis | None = None) -> None:
    """Write the lexical index of texts, whose rows are their numbers, into a folder.

    None takes a row and counts for nothing: the others score as they would without it.

    The same texts give the same bytes. Texts are read once; memory is about 25 bytes for each term of each text.
    """
    analysis = analysis or Analysis()
    ids: dict[str, int] = {}
    term_of, row_of, times = array("i"), array("i"), array("i")
    lengths = array("i")
    count = 0
    for row, text in enumerate(texts):
        terms = analysis.terms(text) if text is not None else ()
        count += text is not None
        lengths.append(len(terms))
        counts = Counter(terms)
        term_of.extend([ids.setdefault(term, len(ids)) for term in counts])
        times.extend(counts.values())
        row_of.extend([row] * len(counts))
    words = [term.encode() for term in ids]
    order = sorted(range(len(words)), key=words.__getitem__)
    rank = np.empty(len(words), np.int32)
    rank[order] = np.arange(len(words), dtype=np.int32)
    arrays = _postings(rank[_int32(term_of)], _int32(row_of), _int32(times), _int32(lengths), count)
    arrays["terms"] = np.frombuffer(b"".join(words[number] for number in order), np.uint8)
    arrays["term_starts"] = _starts(np.array([len(words[number]) for number in order], np.int64))
    folder.mkdir(parents=True, exist_ok=True)
    for name, dtype in _ARRAYS.items():
        np.save(folder / f"{name}.npy", arrays[name].astype(dtype, copy=False), allow_pickle=False)
    settings = {"format": _FORMAT, "method": "lucene", "k1": K1, "b": B, "rows": len(lengths), **asdict(analysis)}
    (folder / _SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _postings(
    terms: NDArray[np.int32],
    rows: NDArray[np.int32],
    times: NDArray[np.int32],
    lengths: NDArray[np.int32],
    count: int,
) -> dict[str, NDArray[Any]]:
    """Return rows and scores by term. Postings come row by row. count: of the rows that have a text."""
    order = np.argsort(terms, kind="stable")
    rows, times = rows[order], times[order]
    frequencies = np.bincount(terms)
    weights = np.log1p((count - frequencies + 0.5) / (frequencies + 0.5))
    mean = lengths.sum() / count if lengths.any() else 1.0
    saturation = K1 * (1 - B + B * lengths / mean)
    scores = np.repeat(weights, frequencies) * times / (times + saturation[rows])
    return {"posting_starts": _starts(frequencies), "rows": rows, "scores": scores}


def _starts(lengths: NDArray[Any]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)))


def _int32(numbers: array[int]) -> NDArray[np.int32]:
    return np.array(numbers, np.int32)


@dataclass(frozen=True, slots=True)
class LexicalIndex:
    """A lexical index that is open; its arrays stay on disk."""

    analysis: Analysis
    rows: int
    _arrays: dict[str, NDArray[Any]]

    def search(self, queries: Sequence[str], k: int, allowed: NDArray[np.bool_] | None = None) -> list[Found]:
        """Return the best rows of each query, at most `k`, ties by row.

        Only rows that share a term with the query are found, so there may be fewer, or none.

        Args:
            queries: each is searched by itself: no other changes what it finds.
            k: at least 1.
            allowed: [rows], what may be found; None: all.
        """
        return [self._search(query, k, allowed) for query in queries]

    def _search(self, query: str, k: int, allowed: NDArray[np.bool_] | None) -> Found:
        starts, rows, scores = (self._arrays[name] for name in ("posting_starts", "rows", "scores"))
        total = np.zeros(self.rows, np.float32)
        for term, times in Counter(self.analysis.query_terms(query)).items():
            number = self._number(term.encode())
            if number is not None:
                postings = slice(starts[number], starts[number + 1])
                found = rows[postings]
                if len(found) and not 0 <= found.min() <= found.max() < self.rows:
                    raise InvalidInput("the lexical index is damaged: a term is in rows that are none.", hint=_AGAIN)
                total[found] += scores[postings] * np.float32(times)
        if allowed is not None:
            total[~allowed] = 0
        return best(total, k)

    def _number(self, term: bytes) -> int | None:
        """Return the number of a term by binary search, or None."""
        letters, starts = self._arrays["terms"], self._arrays["term_starts"]
        low, high = 0, len(starts) - 1
        while low < high:
            middle = (low + high) // 2
            word = letters[starts[middle] : starts[middle + 1]].tobytes()
            if word == term:
                return middle
            low, high = (middle + 1, high) if word < term else (low, middle)
        return None


def best(scores: NDArray[np.float32], k: int) -> Found:
    """Return the `k` highest scores that are above 0, and their places, ties by place."""
    places = np.flatnonzero(scores > 0)
    found = scores[places]
    if len(places) > k:
        least = np.partition(found, len(found) - k)[len(found) - k]
        above, equal = np.flatnonzero(found > least), np.flatnonzero(found == least)
        chosen = np.concatenate((above, equal[: k - len(above)]))
        places, found = places[chosen], found[chosen]
    order = np.lexsort((places, -found))
    return found[order], places[order]


def open_lexical(folder: Path) -> LexicalIndex:
    """Return the lexical index of a folder, mapped into memory.

    Raises NotFound if there is none, InvalidInput for a damaged one, Refused for one of another format.
    """
    file = folder / _SETTINGS
    if not file.is_file():
        raise NotFound("there is no lexical index.", hint="Build the index with lexical: true.", where=str(folder))
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        if settings["format"] != _FORMAT:
            raise Refused(
                f"this lexical index has format {settings['format']}, and this version reads {_FORMAT}.",
                hint=_AGAIN,
                where=str(folder),
            )
        rows, analysis = int(settings["rows"]), Analysis(settings["language"])
        arrays = {name: load_array(folder / f"{name}.npy", dtype) for name, dtype in _ARRAYS.items()}
        _check(arrays, rows)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"the lexical index is damaged: {error}.", hint=_AGAIN, where=str(folder)) from error
    return LexicalIndex(analysis, rows, arrays)


def _check(arrays: dict[str, NDArray[Any]], rows: int) -> None:
    """Compare sizes: what they say of each other is cheap to read, whereas hashes read it all."""
    terms, term_starts, posting_starts = arrays["terms"], arrays["term_starts"], arrays["posting_starts"]
    fits = (
        len(term_starts) == len(posting_starts) > 0
        and term_starts[-1] == len(terms)
        and posting_starts[-1] == len(arrays["rows"]) == len(arrays["scores"])
        and rows >= 0
    )
    if not fits:
        raise ValueError("its files do not fit together")
