"""PDF: the text of its pages, as pypdf reads it. Only ever called in a process with limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.rag.reading.composition import Composition
from engine.rag.reading.contents import opened
from engine.rag.reading.files import CorpusFile
from engine.rag.reading.metadata import scalars
from engine.rag.reading.rules import Found, Rules, Unreadable
from engine.rag.records import Rejected

if TYPE_CHECKING:
    from pypdf import PdfReader

# Letters that are joined in print only; NFC leaves them joined.
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})


def read_pdf(file: CorpusFile, rules: Rules) -> Found:
    """Yield the document of a PDF file, a section a page; pages that cannot be read are told. Raises Unreadable."""
    from pypdf import PdfReader

    with opened(file.path, rules) as content:
        try:
            reader = PdfReader(content)
            _decrypt(reader)
            pages = iter(reader.pages)
        except (Unreadable, MemoryError, OSError):
            raise
        except Exception as error:
            raise Unreadable(f"is not a PDF, or damaged: {error}") from error
        composition = Composition(rules)
        broken = 0
        number = 0
        while True:
            number += 1
            try:
                page = next(pages, None)
                text = "" if page is None else page.extract_text().translate(_LIGATURES)
            except (MemoryError, OSError):
                raise
            except Exception as error:
                broken += 1
                yield Rejected(f"{file.name}:page {number}", f"is damaged: {error}")
                continue
            if page is None:
                break
            composition.section(f"page {number}")
            composition.block(text)
        if not composition.length:
            raise Unreadable("has no page that can be read" if broken else "has no text; its pages may be pictures")
        title, metadata = _described(reader)
        yield composition.document(file.name, title, scalars(metadata, rules))


def _decrypt(reader: PdfReader) -> None:
    if not reader.is_encrypted:
        return
    from pypdf.errors import DependencyError

    try:
        opened_without = reader.decrypt("")
    except (DependencyError, NotImplementedError) as error:
        raise Unreadable(f"is encrypted: {error}") from error
    if not opened_without:
        raise Unreadable("is encrypted, and opens with a password alone")


def _described(reader: PdfReader) -> tuple[str, dict[str, str | int]]:
    """Return title and metadata; a document whose description is damaged has none."""
    try:
        described = reader.metadata
        title, author = (described.title, described.author) if described is not None else (None, None)
        pages = len(reader.pages)
    except MemoryError:
        raise
    except Exception:
        return "", {}
    metadata: dict[str, str | int] = {"pages": pages}
    if isinstance(author, str):
        metadata["author"] = author
    return title if isinstance(title, str) else "", metadata
