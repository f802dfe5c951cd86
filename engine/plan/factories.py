"""Factory strings of faiss, read without faiss: what an index of that kind takes, and what it is trained on.

The grammar is that of https://github.com/facebookresearch/faiss/wiki/The-index-factory. Whether faiss builds such an
index is known when it is built; here the families are read whose size is known, and the others are told apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.errors import InvalidInput

FLOAT = 4  # bytes of a coordinate
ROW_ID = 8  # bytes of the number of a row, in a list
LINK = 4  # bytes of a link of a graph

_K = {"": 1, "k": 1024, "M": 1024 * 1024}
_LONGEST = 200
_CHARACTERS = re.compile(r"[A-Za-z0-9_,()+:.]+")
_TRANSFORM = re.compile(r"(?P<kind>L2norm|OPQ|PCAR?|PCAWR?|RR)(?P<groups>\d+)?(?:_(?P<out>\d+))?")
_LISTS = re.compile(r"IVF(?P<lists>\d+)(?P<unit>[kM]?)(?:_HNSW(?P<links>\d+))?")
_GRAPH = re.compile(r"HNSW(?P<links>\d+)?(?:_(?P<code>.+))?")
_SCALAR = re.compile(r"SQ(?P<bits>4|6|8|fp16|bf16)")
_PRODUCT = re.compile(r"PQ(?P<groups>\d+)(?:x(?P<bits>\d+))?(?P<fast>fsr?(?:_\d+)?)?(?:np)?")
_REFINED = re.compile(r"RFlat|Refine\((?P<code>.+)\)")
_BLOCK = 32
_UNKNOWN = 65_536  # vectors to train an index on of which nothing is known
_PAIRED = 2  # links of the lowest level of a graph are twice those of the others


@dataclass(frozen=True, slots=True)
class Factory:
    """An index, as its factory string says."""

    text: str
    lists: int = 0  # inverted lists; 0: every vector is compared, or a graph is followed
    list_links: int = 0  # links of the graph over the lists' centres; 0: every centre is compared
    links: int = 0  # links of the graph over the vectors
    code_bytes: float | None = None  # of a vector in the index; None: a kind whose size is not known here
    refining_bytes: float = 0.0  # of the second, finer copy of a vector
    coarse: bool = False  # product-quantised, without a finer copy
    fast: bool = False  # codes lie in blocks of 32 vectors, as the instructions of fast scan want
    needed: int = 0  # vectors, without which it cannot be trained
    wanted: int = 0  # vectors to train it on
    constant_bytes: float = 0.0  # centres, codebooks, rotations

    def index_bytes(self, rows: int) -> int | None:
        """Return the size of the file of an index over so many vectors, to about a percent."""
        if self.code_bytes is None:
            return None
        graph = self.links * LINK * _PAIRED + 3 * LINK if self.links else 0
        # The last block of each list is half empty, on average.
        padding = _BLOCK / 2 * max(self.lists, 1) * self.code_bytes if self.fast else 0.0
        a_row = self.code_bytes + self.refining_bytes + graph + (ROW_ID if self.lists else 0)
        return round(rows * a_row + padding + self.constant_bytes)


def parse_factory(text: str, dimension: int) -> Factory:
    """Return what a factory string says of an index over vectors of that dimension.

    Raises:
        InvalidInput: it is no factory string, or of an index whose rows would lose their numbers.
    """
    if not 0 < len(text) <= _LONGEST or not _CHARACTERS.fullmatch(text) or "" in (parts := _parts(text)):
        raise InvalidInput(
            f"{text[:80]!r} is no factory string of faiss.", hint='Write "auto", or for example "IVF1024,SQ8".'
        )
    if any(part.startswith("IDMap") for part in parts):
        raise InvalidInput(
            f"{text!r} numbers its vectors by itself, which the rows of the chunks do already.", hint="Leave IDMap out."
        )
    found, width = {"needed": 0, "wanted": 0}, dimension
    constant = refining = 0.0
    if transform := _TRANSFORM.fullmatch(parts[0]):
        width, constant = _transformed(transform, dimension, found)
        parts = parts[1:]
    if parts and (refined := _REFINED.fullmatch(parts[-1])):
        parts = parts[:-1]
        refining = _code(refined["code"] or "Flat", dimension, {"needed": 0, "wanted": 0})[0] or 0.0
    lists = list_links = links = 0
    if parts and (coarse := _LISTS.fullmatch(parts[0])):
        lists, list_links = int(coarse["lists"]) * _K[coarse["unit"]], int(coarse["links"] or 0)
        if lists < 1:
            raise InvalidInput(f"{text!r} has no lists.", hint='Write "IVF1024,SQ8", for example.')
        constant += lists * (width * FLOAT + ROW_ID + (list_links * LINK * _PAIRED + 3 * LINK if list_links else 0))
        _raise(found, lists, 64 * lists)
        parts = parts[1:]
    elif parts and (graph := _GRAPH.fullmatch(parts[0])):
        links = int(graph["links"] or 32)
        parts = [graph["code"]] if graph["code"] else parts[1:] or ["Flat"]
    code, books, product = _code(parts[0], width, found) if len(parts) == 1 else (None, 0.0, False)
    if code is None:
        _raise(found, 0, _UNKNOWN)
    return Factory(
        text,
        lists,
        list_links,
        links,
        code,
        refining,
        coarse=product and not refining,
        fast=len(parts) == 1 and "fs" in parts[0],
        needed=found["needed"],
        wanted=found["wanted"],
        constant_bytes=constant + books,
    )


def _parts(text: str) -> list[str]:
    """Split at the commas outside parentheses."""
    return re.split(r",(?![^(]*\))", text)


def _raise(found: dict[str, int], needed: int, wanted: int) -> None:
    found["needed"], found["wanted"] = max(found["needed"], needed), max(found["wanted"], wanted)


def _transformed(match: re.Match[str], dimension: int, found: dict[str, int]) -> tuple[int, float]:
    """Return the dimension after a transform, and the bytes of its matrix."""
    if match["kind"] == "L2norm":
        return dimension, 0.0
    if match["kind"] == "OPQ":
        width = int(match["out"] or dimension)
        _raise(found, 256, 65_536)
    else:
        width = int(match["groups"] or dimension)
        _raise(found, 0 if match["kind"] == "RR" else width, 0 if match["kind"] == "RR" else 64 * dimension)
    # Of principal components, all are kept beside those that are used.
    kept = dimension if match["kind"].startswith("PCA") else 0
    return width, float((width + kept) * dimension * FLOAT)


def _code(text: str, width: int, found: dict[str, int]) -> tuple[float | None, float, bool]:
    """Return the bytes of a vector's code, those of its codebooks, and whether it is product-quantised."""
    if text == "Flat":
        return float(width * FLOAT), 0.0, False
    if scalar := _SCALAR.fullmatch(text):
        bits = {"fp16": 16, "bf16": 16}.get(scalar["bits"]) or int(scalar["bits"])
        if bits < 16:
            _raise(found, 1, 100_000)
        return width * bits / 8, 2.0 * width * FLOAT, False
    if product := _PRODUCT.fullmatch(text):
        groups, bits = int(product["groups"]), int(product["bits"] or 8)
        if groups < 1 or width % groups or not 1 <= bits <= 24:
            raise InvalidInput(
                f"{text!r} does not divide vectors of {width} dimensions.",
                hint=f"Write PQ{max(1, width // 4)}x4fs, for example: the groups must divide {width}.",
            )
        _raise(found, 2**bits, 256 * 2**bits)
        return groups * bits / 8, float(2**bits * width * FLOAT), True
    if text == "RaBitQ":
        return width / 8 + 2 * FLOAT, float(width * FLOAT), True
    return None, 0.0, False
