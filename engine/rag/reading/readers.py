"""Which reader reads which kind of file, and how its failures are told."""

from __future__ import annotations

from collections.abc import Callable

from engine.rag.reading.cleaning import one_line
from engine.rag.reading.files import CorpusFile, Kind
from engine.rag.reading.html import read_html
from engine.rag.reading.json_file import read_json
from engine.rag.reading.markdown import read_markdown
from engine.rag.reading.pdf import read_pdf
from engine.rag.reading.rows import read_jsonl, read_table
from engine.rag.reading.rules import Found, Rules, Unreadable
from engine.rag.reading.text import read_text
from engine.rag.records import Rejected

_READERS: dict[Kind, Callable[[CorpusFile, Rules], Found]] = {
    "text": read_text,
    "markdown": read_markdown,
    "html": read_html,
    "pdf": read_pdf,
    "jsonl": read_jsonl,
    "json": read_json,
    "table": read_table,
}
# Kinds that are read line by line or as they are: no content can make that costly.
SIMPLE_KINDS: frozenset[Kind] = frozenset(["text", "jsonl"])
_REASON_CHARACTERS = 300


def read_file(file: CorpusFile, rules: Rules) -> Found:
    """Yield the documents of one file; last, if it cannot be read to its end, why.

    Raises:
        MemoryError: if the file needs more memory than there is.
        ImportError: if the library that reads its kind is not installed.
    """
    try:
        yield from _READERS[file.kind](file, rules)
    except Unreadable as error:
        yield rejected(file, str(error), error.line)
    except (MemoryError, ImportError):
        raise
    except Exception as error:  # of a library, on a file that it was not made for
        yield rejected(file, f"cannot be read: {type(error).__name__}: {error}")


def rejected(file: CorpusFile, reason: str, line: str = "") -> Rejected:
    """Return the record that tells why a file is not read, on one line."""
    return Rejected(file.name + line, one_line(reason.replace(file.path, file.name))[:_REASON_CHARACTERS])
