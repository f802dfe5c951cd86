"""Embedding dealt over the ranks: blocks taken as they come, finished ones kept, all vectors brought to rank 0.

What a block is depends on the texts, the embedder and its size alone, and a block's vectors depend on nothing else: so
how many ranks there are, who embeds what, and how often the build was cut off do not change a bit of the index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from engine.job.board import Board
from engine.job.runtime import Runtime
from engine.rag.embedding.blocks import embed_blocks, is_begun
from engine.rag.embedding.pieces import Piece, with_texts
from engine.rag.segments import Segment

if TYPE_CHECKING:
    from engine.rag.embedding.embedder import Encoder

_DONE, _EMBEDDED, _TOKENS, _STOP = "done", "embedded", "tokens", "stop"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far all ranks together are."""

    done: int  # texts that have vectors, those of earlier attempts included
    embedded: int  # texts that this attempt has embedded
    tokens: int  # of these


Look = Callable[[Progress], None]  # called by each rank after each batch


class Dealing:
    """The work of all ranks on the blocks of a segment. Each method is called by all ranks together."""

    def __init__(
        self, segment: Segment, pieces: Sequence[Piece], blocks: Path, encoder: Encoder, ranks: Runtime
    ) -> None:
        self._segment, self._pieces, self._folder = segment, pieces, blocks
        self._encoder, self._ranks, self._board = encoder, ranks, Board("embedding")
        blocks.mkdir(parents=True, exist_ok=True)
        ranks.barrier()
        own = {number for number, piece in enumerate(pieces) if self._file(piece).exists()}
        begun = {number for number, piece in enumerate(pieces) if number not in own and is_begun(blocks, piece.key)}
        found = ranks.from_all((sorted(own), sorted(begun)))
        # By block: the rank whose folder has it; the lowest where several do.
        self._owner = _first_of([numbers for numbers, _ in found])
        self._begun = _first_of([numbers for _, numbers in found])
        # Texts that earlier attempts have embedded, in finished blocks.
        self.done = sum(len(pieces[number].rows) for number in self._owner)

    def embed(self, stopping: Callable[[], bool], look: Look) -> bool:
        """Embed what is missing; return whether all is there then."""

        def told(texts: int, tokens: int) -> None:
            look(self._progress(texts, tokens))

        def stops() -> bool:
            if stopping():
                self._board.add(_STOP)
            return self._board.read(_STOP) > 0

        wanted = with_texts(self._segment, self._own_work())
        for block in embed_blocks(self._encoder, wanted, self._folder, told=told, stop=stops):
            self._board.add(_DONE, block.texts - block.embedded)  # those that an earlier attempt had begun with
        self._board.await_all(self._ranks.world_size, lambda: look(self._progress()))
        present = [number for number, piece in enumerate(self._pieces) if self._file(piece).exists()]
        self._owner = _first_of(self._ranks.from_all(present))
        return len(self._owner) == len(self._pieces)

    def gather(self, take: Callable[[Piece, NDArray[np.float32]], None]) -> None:
        """Give rank 0 the vectors of all blocks, float32 [rows, dimension], in order."""
        ranks, dimension = self._ranks, self._encoder.dimension
        for number, piece in enumerate(self._pieces):
            source = ranks.folders.mains[self._owner[number]]
            own = np.load(self._file(piece), allow_pickle=False) if source == ranks.rank else None
            if source != 0:
                tensor = torch.from_numpy(own) if own is not None else None
                sent = ranks.to_main(tensor, source, (len(piece.rows), dimension))
                own = sent.numpy() if sent is not None else None
            if ranks.is_main:
                assert own is not None
                take(piece, own)

    def _own_work(self) -> Iterator[Piece]:
        """Yield the blocks that this rank is to embed: first those that its folder has begun, then what comes next."""
        ranks = self._ranks
        main = ranks.folders.mains[ranks.rank]
        seeing = ranks.folders.ranks_of(main)
        begun = sorted(number for number, rank in self._begun.items() if ranks.folders.mains[rank] == main)
        yield from (self._pieces[number] for number in begun[seeing.index(ranks.rank) :: len(seeing)])
        rest = [n for n in range(len(self._pieces)) if n not in self._owner and n not in self._begun]
        yield from (self._pieces[rest[turn]] for turn in self._board.turns(len(rest)))

    def _progress(self, texts: int = 0, tokens: int = 0) -> Progress:
        """Return how far all ranks are, now that this one has embedded so many texts more."""
        add = self._board.add
        return Progress(self.done + add(_DONE, texts), add(_EMBEDDED, texts), add(_TOKENS, tokens))

    def _file(self, piece: Piece) -> Path:
        return self._folder / f"{piece.key}.npy"


def _first_of(numbers_by_rank: Sequence[Sequence[int]]) -> dict[int, int]:
    """Return the lowest rank that has each number."""
    first: dict[int, int] = {}
    for rank, numbers in enumerate(numbers_by_rank):
        for number in numbers:
            first.setdefault(number, rank)
    return first
