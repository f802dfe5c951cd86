"""Files of every kind that is read, made here byte by byte where a library would not make them so."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.rag.reading.documents import read_documents
from engine.rag.reading.rules import Limits
from engine.rag.records import Document, Rejected
from engine.spec.rag import Corpus


def read(path: Path, limits: Limits | None = None, **settings: Any) -> tuple[list[Document], dict[str, str]]:
    """Return the documents of a corpus and the reasons of what was rejected, by place."""
    rejected: list[Rejected] = []
    documents = list(read_documents(Corpus(path=str(path), **settings), rejected.append, limits=limits))
    reasons = {reject.place: reject.reason for reject in rejected}
    assert len(reasons) == len(rejected)
    return documents, reasons


def words(*lines: str) -> bytes:
    """Return the content of a PDF page that shows these lines."""
    shown = b" ".join(b"(" + line.encode("cp1252") + b") Tj 0 -14 Td" for line in lines)
    return b"BT /F1 12 Tf 72 700 Td " + shown + b" ET"


def pdf(*pages: bytes | tuple[bytes, str]) -> bytes:
    """Return a PDF of pages with these contents; one that is encoded already comes with its filters."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, page in enumerate(pages):
        content, filters = page if isinstance(page, tuple) else (page, "")
        resources = "/MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R {resources} /Contents {5 + 2 * number} 0 R >>".encode())
        head = f"<< /Length {len(content)} {filters} >>\nstream\n"
        objects.append(head.encode() + content + b"\nendstream")
    out = io.BytesIO(b"%PDF-1.4\n")
    out.seek(0, io.SEEK_END)
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(f"{number} 0 obj\n".encode() + body + b"\nendobj\n")
    table = out.tell()
    out.write(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode())
    out.write("".join(f"{offset:010} 00000 n \n" for offset in offsets).encode())
    out.write(f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF".encode())
    return out.getvalue()


def deflated(content: bytes, times: int = 1) -> tuple[bytes, str]:
    """Return a page's content, packed once or more, and its filters."""
    for _ in range(times):
        content = zlib.compress(content, 9)
    return content, f"/Filter [{'/FlateDecode ' * times}]"


def spaces(mebibytes: int) -> bytes:
    """Return what unpacks to so many MiB of spaces, packed without ever holding them."""
    packer = zlib.compressobj(1)
    piece = b" " * (1 << 20)
    return b"".join([*(packer.compress(piece) for _ in range(mebibytes)), packer.flush()])


def jsonl(rows: Sequence[dict[str, Any]]) -> bytes:
    """Return rows as JSONL."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def every_kind(texts: Sequence[str]) -> dict[str, bytes]:
    """Return files, by name, that hold the texts; the ids of rows are the file's first letter and a number from 1."""
    import pyarrow
    from pyarrow import parquet

    def rows(letter: str) -> list[dict[str, Any]]:
        return [{"id": f"{letter}{number}", "text": text} for number, text in enumerate(texts, 1)]

    def cells(letter: str, separator: str) -> bytes:
        lines = [f'{row["id"]}{separator}"{row["text"]}"' for row in rows(letter)]
        return "\n".join([f"id{separator}text", *lines]).encode()

    packed, stream = io.BytesIO(), io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows("k")), packed)
    table = pyarrow.Table.from_pylist(rows("l"))
    with pyarrow.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    article = {"title": "A_b", "paragraphs": [{"qas": [], "context": text} for text in texts]}
    paragraphs = "\n\n".join(texts)
    return {
        "a.txt": paragraphs.encode(),
        "b.md": f"# Heading\n\n{paragraphs}".encode(),
        "c.html": f"<title>T</title><h1>Heading</h1>{''.join(f'<p>{text}</p>' for text in texts)}".encode(),
        "d.pdf": pdf(*(words(text) for text in texts)),
        "e.jsonl": jsonl(rows("e")),
        "f.jsonl.gz": gzip.compress(jsonl(rows("f")), mtime=0),
        "g.json": json.dumps(rows("g")).encode(),
        "h.json": json.dumps({"version": "v2.0", "data": [article]}).encode(),
        "i.csv": cells("i", ","),
        "j.tsv": cells("j", "\t"),
        "k.parquet": packed.getvalue(),
        "l.arrow": stream.getvalue(),
    }
