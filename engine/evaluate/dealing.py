"""Pieces of questions dealt over the ranks: taken as they come, brought to rank 0 at once, kept there on disk.

What a piece holds depends on the questions and the batch size alone, so how many ranks there are, who answers what, and
how often the evaluation was cut off do not change a row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.evaluate.answer_rows import Row
from engine.job import durable
from engine.job.board import Board
from engine.job.runtime import Runtime

_STOP, _POSTED, _DONE = "stop", "posted", "done"

Take = Callable[[int, list[Row]], None]  # called on rank 0 with each new piece, before it is kept
Look = Callable[[int], None]  # called on each rank now and then, with the questions that are answered so far


class Dealing:
    """The work of all ranks on the pieces of an evaluation. Each method is called by all ranks together.

    Arguments:
        sizes: how many questions each piece has.
        folder: where each run directory keeps finished ones.
    """

    def __init__(self, sizes: Sequence[int], folder: Path, ranks: Runtime) -> None:
        self._folder, self._ranks, self._board = folder, ranks, Board("answers")
        self._pieces = pieces = len(sizes)
        if ranks.is_folder_main:
            folder.mkdir(parents=True, exist_ok=True)
        ranks.barrier()
        own = sorted(number for number in range(pieces) if self._file(number).exists()) if ranks.is_folder_main else []
        held = ranks.from_all(own)
        there = {number for numbers in held for number in numbers}
        self._missing = [number for number in range(pieces) if number not in there]
        # What rank 0 lacks comes from the lowest rank that has it.
        self._owed = [number for number in own if not any(number in other for other in held[: ranks.rank])]
        self._seen, self._done = 0, sum(sizes[number] for number in there)
        # On rank 0: all that is answered so far, by piece.
        self.rows = {number: self._read(number) for number in own} if ranks.is_main else {}

    def work(self, answer: Callable[[int], list[Row]], stopping: Callable[[], bool], take: Take, look: Look) -> bool:
        """Answer what is missing; return whether all is there then.

        Arguments:
            answer: returns the rows of a piece.
            stopping: asked between two pieces.
        """
        board, ranks = self._board, self._ranks
        if not ranks.is_main:
            for number in self._owed:
                self._post(number, self._read(number))
        for turn in board.turns(len(self._missing)):
            if stopping() or board.read(_STOP):
                board.add(_STOP)
                break
            number = self._missing[turn]
            look(self._done + board.read(_DONE))
            rows = answer(number)
            board.add(_DONE, len(rows))
            if ranks.is_main:
                self._keep(number, rows, take)
                self._collect(take)
            else:
                if ranks.folders.mains[ranks.rank] != 0:
                    self._write(number, rows)
                self._post(number, rows)

        def wait() -> None:
            self._collect(take)
            look(self._done + board.read(_DONE))

        board.await_all(ranks.world_size, wait)
        complete: bool = ranks.from_main(len(self.rows) == self._pieces)
        return complete

    def _post(self, number: int, rows: Sequence[Row]) -> None:
        text = json.dumps([number, _records(rows)])
        # The number is drawn first: who reads it waits for the note.
        self._board.post(f"{_POSTED}/{self._board.add(_POSTED)}", text)

    def _collect(self, take: Take) -> None:
        """Rank 0 takes in what others have answered since."""
        if not self._ranks.is_main:
            return
        while self._seen < self._board.read(_POSTED):
            self._seen += 1
            number, records = json.loads(self._board.await_note(f"{_POSTED}/{self._seen}"))
            self._keep(number, [Row.of(one) for one in records], take)

    def _keep(self, number: int, rows: list[Row], take: Take) -> None:
        self.rows[number] = rows
        take(number, rows)
        self._write(number, rows)

    def _write(self, number: int, rows: Sequence[Row]) -> None:
        temporary = self._folder / f".tmp-{number}"
        durable.write_json(temporary, _records(rows))
        temporary.rename(self._file(number))
        durable.sync(self._folder)

    def _read(self, number: int) -> list[Row]:
        return [Row.of(one) for one in json.loads(self._file(number).read_bytes())]

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:06}.json"


def _records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [row.record() for row in rows]
