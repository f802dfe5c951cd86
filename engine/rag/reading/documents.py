"""The documents of a corpus, one after another."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.rag.reading.files import CorpusFile, walk
from engine.rag.reading.process import ParsingProcess
from engine.rag.reading.readers import SIMPLE_KINDS, read_file
from engine.rag.reading.rules import Found, Limits, Reject, Rules, rules_of
from engine.rag.records import Document, Rejected

if TYPE_CHECKING:
    from engine.spec.rag import Corpus

_MOST_PROCESSES = 4
_AHEAD = 16  # files looked at before their turn


def read_documents(corpus: Corpus, reject: Reject, *, limits: Limits | None = None) -> Iterator[Document]:
    """Yield the documents of a corpus in the order of its files and their rows, each with an id of its own.

    What is no document, cannot be read or would be the second of its id is told to `reject`. Files that a library has
    to parse are parsed in other processes within `limits`, some ahead of their turn.

    Raises:
        NotFound: if the corpus does not exist.
        Refused: if a library that reads a kind of file is missing.
    """
    places: dict[str, str] = {}
    rules = rules_of(corpus)
    for found in _found(walk(corpus.path), rules, limits or Limits()):
        if isinstance(found, Rejected):
            reject(found)
        elif found.id in places:
            reject(Rejected(found.source, f"has the id {found.id!r} of {places[found.id]}"))
        else:
            places[found.id] = found.source
            yield found


def _found(entries: Iterator[CorpusFile | Rejected], rules: Rules, limits: Limits) -> Found:
    count = min(_MOST_PROCESSES, os.cpu_count() or 1)
    processes = [ParsingProcess(rules, limits) for _ in range(count)]
    waiting: deque[CorpusFile | Rejected | ParsingProcess] = deque()
    try:
        while True:
            _look_ahead(entries, processes, waiting)
            if not waiting:
                return
            turn = waiting.popleft()
            if isinstance(turn, Rejected):
                yield turn
            elif isinstance(turn, CorpusFile):
                yield from read_file(turn, rules)
            else:
                yield from turn.found()
    finally:
        for process in processes:
            process.close()


def _look_ahead(
    entries: Iterator[CorpusFile | Rejected],
    processes: list[ParsingProcess],
    waiting: deque[CorpusFile | Rejected | ParsingProcess],
) -> None:
    """Line up what comes next while a process is idle; a file of no simple kind is begun, and its process lined up."""
    while len(waiting) < _AHEAD:
        idle = next((process for process in processes if process.idle), None)
        entry = next(entries, None) if idle is not None else None
        if idle is None or entry is None:
            return
        if isinstance(entry, CorpusFile) and entry.kind not in SIMPLE_KINDS:
            idle.begin(entry)
            waiting.append(idle)
        else:
            waiting.append(entry)
