"""How the kinds of faiss's indexes are asked: what they can leave out, how hard they look, how coarsely they keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.rag.searching.selection import Selection
from engine.rag.vectors.faiss_library import library

_COARSE = 8  # candidates to score for each that is wanted, where codes are short
_REFINED = 8.0  # candidates of the coarse index for each that the finer copy is to find


@dataclass(frozen=True, slots=True)
class Kind:
    """What an index can do."""

    filters: bool  # rows can be left out while it searches
    most_effort: int  # lists, or vectors that a graph leads to; 0: it has no such setting
    widening: int  # candidates to score exactly for each that is wanted


def kind_of(index: Any) -> Kind:
    """Return what a faiss index can do."""
    faiss = library()

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexRefine):
        base = kind_of(index.base_index)
        return Kind(base.filters, base.most_effort, 1)
    if isinstance(index, faiss.IndexPreTransform):
        inner = kind_of(index.index)
        shortened = index.index.d < index.d
        return Kind(inner.filters, inner.most_effort, _COARSE if shortened else inner.widening)
    if isinstance(index, faiss.IndexIVF):
        return Kind(True, index.nlist, _widening(faiss, index))
    if isinstance(index, faiss.IndexHNSW):
        return Kind(True, index.ntotal, _widening(faiss, faiss.downcast_index(index.storage)))
    return Kind(isinstance(index, (faiss.IndexFlat, faiss.IndexScalarQuantizer)), 0, _widening(faiss, index))


def parameters(index: Any, effort: int, selection: Selection | None) -> Any:
    """Return the search parameters of an index whose kind has that effort and, if there is a selection, filters."""
    faiss = library()

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexRefine):
        inner = parameters(index.base_index, effort, selection)
        return faiss.IndexRefineSearchParameters(k_factor=_REFINED, base_index_params=inner)
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=parameters(index.index, effort, selection))
    chosen: dict[str, Any] = {} if selection is None else {"sel": _selector(faiss, selection)}
    if isinstance(index, faiss.IndexIVF):
        if isinstance(faiss.downcast_index(index.quantizer), faiss.IndexHNSW):
            chosen["quantizer_params"] = faiss.SearchParametersHNSW(efSearch=2 * effort)
        return faiss.SearchParametersIVF(nprobe=effort, **chosen)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=effort, **chosen)
    return faiss.SearchParameters(**chosen) if chosen else None


def _selector(faiss: Any, selection: Selection) -> Any:
    # The bits are faiss's for as long as the selection lives, which the caller holds while it searches.
    return faiss.IDSelectorBitmap(len(selection.mask), faiss.swig_ptr(selection.bits))


def _widening(faiss: Any, index: Any) -> int:
    if isinstance(index, (faiss.IndexFlat, faiss.IndexIVFFlat)):
        return 1
    if isinstance(index, (faiss.IndexScalarQuantizer, faiss.IndexIVFScalarQuantizer)):
        return 2 if index.sq.code_size >= index.d else _COARSE
    return _COARSE
