"""The process that parses files which may be hostile: one after another, each within its limits.

It is started by `engine.rag.reading.process`, gets a JSON line a file, and answers with JSON lines: documents and
rejections, then `end`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import resource
import sys
from typing import IO, Any

from engine.rag.reading.files import CorpusFile
from engine.rag.reading.readers import read_file, rejected
from engine.rag.reading.rules import Limits, Rules
from engine.rag.records import Document, Rejected


def main() -> None:
    """Parse files until there is none, or one has used up the memory."""
    logging.disable()  # what libraries say of damaged files would flood the build's log
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)  # it has nothing to write to any file
    _say(answers, {"ready": True})
    for line in sys.stdin.buffer:
        task = json.loads(line)
        task["rules"]["metadata_keys"] = tuple(task["rules"]["metadata_keys"])
        file, rules, limits = CorpusFile(**task["file"]), Rules(**task["rules"]), Limits(**task["limits"])
        if not _answer(file, rules, limits, answers):
            return


def _answer(file: CorpusFile, rules: Rules, limits: Limits, answers: IO[bytes]) -> bool:
    """Parse one file; tell whether the process is good for another one."""
    _limit(resource.RLIMIT_AS, limits.memory_bytes + _mapped(file))
    _renew(limits)
    good = True
    try:
        for found in read_file(file, rules):
            _say(answers, _message(found))
            _renew(limits)
    except MemoryError:
        good = False
    except ImportError as error:
        _say(answers, {"missing": error.name or str(error)})
    if not good:
        reason = f"needs more than {limits.memory_bytes / 2**20:,.0f} MiB of memory"
        _say(answers, _message(rejected(file, reason)))
    _say(answers, {"end": good})
    return good


def _message(found: Document | Rejected) -> dict[str, Any]:
    if isinstance(found, Rejected):
        return {"rejected": [found.place, found.reason]}
    sections = [(section.start, section.heading) for section in found.sections]
    return {"document": [found.id, found.text, found.source, found.title, found.metadata, sections]}


def _mapped(file: CorpusFile) -> int:
    """Bytes of the address space that the file itself takes: Arrow files are mapped, whole ones are held."""
    try:
        return os.stat(file.path).st_size  # noqa: PTH116 - the path is a text
    except OSError:
        return 0


def _renew(limits: Limits) -> None:
    """Grant the CPU seconds of a file, or of the next row, from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + limits.cpu_seconds)


def _limit(what: int, most: int) -> None:
    """Set a soft limit, as far as the hard one allows."""
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _say(answers: IO[bytes], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message, ensure_ascii=False).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()
