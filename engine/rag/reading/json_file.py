"""JSON files: a list of rows, one row, JSONL by another name, or SQuAD's articles of paragraphs."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.data.sources import Row, json_lines
from engine.rag.reading.cleaning import escaped
from engine.rag.reading.contents import decoded, read_bytes
from engine.rag.reading.files import CorpusFile
from engine.rag.reading.rows import Breaks, documents, read_table
from engine.rag.reading.rules import Found, Rules, Unreadable


def read_json(file: CorpusFile, rules: Rules) -> Found:
    """Yield the documents of a JSON file. Raises Unreadable."""
    content = read_bytes(file.path, rules)
    if content[:256].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        del content  # it is read again
        yield from read_table(file, rules)
        return
    breaks = Breaks(file)
    path = Path(file.path)
    try:
        value = json.loads(decoded(content))
    except json.JSONDecodeError as error:
        if not _begins_with_a_row(content):
            raise Unreadable(f"is not JSON: {error.msg} at column {error.colno}", f":{error.lineno}") from error
        yield from documents(json_lines(path, io.BytesIO(content), breaks), file, rules, breaks)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"is not JSON that can be read: {error}") from error
    else:
        del content
        if not isinstance(value, dict):
            raise Unreadable("holds no JSON object")
        if _is_squad(value):
            keys = replace(rules, text_key="context", id_key="id", title_key="title")
            yield from documents(_paragraphs(value["data"], file, breaks), file, keys, breaks)
        else:
            yield from documents([Row(value, f"{file.path}:1")], file, rules, breaks)


def _begins_with_a_row(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content.lstrip().split(b"\n", 1)[0]), dict)
    except (ValueError, RecursionError):
        return False


def _is_squad(value: dict[str, Any]) -> bool:
    articles = value.get("data")
    return isinstance(articles, list) and any(
        isinstance(article, dict) and isinstance(article.get("paragraphs"), list) for article in articles
    )


def _paragraphs(articles: list[Any], file: CorpusFile, breaks: Breaks) -> Iterator[Row]:
    """Yield the paragraphs of SQuAD's articles; the id of one is TITLE#N, N its number from 0 in the article."""
    for count, article in enumerate(articles, 1):
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        title = article.get("title") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list) or not isinstance(title, str):
            breaks.add(f"{file.path}:article {count}", "has no title, or no list of paragraphs")
            continue
        for number, paragraph in enumerate(paragraphs):
            identity = f"{title}#{number}"
            place = f"{file.path}:{escaped(identity)}"
            if not isinstance(paragraph, dict):
                breaks.add(place, "is not a JSON object")
                continue
            about = {"id": identity, "title": title.replace("_", " "), "article": title, "paragraph": number}
            yield Row({"context": paragraph.get("context"), **about}, place)
