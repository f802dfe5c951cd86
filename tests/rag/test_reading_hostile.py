"""No file stops the build or fills its memory: what cannot be read is named, and all else is read."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.rag.reading.documents import read_documents
from engine.rag.reading.rules import Limits
from engine.rag.records import Rejected
from engine.spec.rag import Corpus
from tests.rag.reading_files import deflated, every_kind, jsonl, pdf, read, spaces, words

GOOD = ["The first text.", "The second text."]
KINDS = every_kind(GOOD)


@pytest.fixture
def good(tmp_path: Path) -> Iterator[Path]:
    """A folder with a good file of every kind, which is read whatever lies beside it."""
    for name, content in KINDS.items():
        (tmp_path / f"z-{name}").write_bytes(content)
    yield tmp_path


def children() -> set[str]:
    """The processes that this one has started, or tests before it."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def others(path: Path, limits: Limits | None = None, **settings: int) -> dict[str, str]:
    """Read a folder, require its good files, and return what became of the others: a reason, or the length."""
    documents, found = read(path, limits, **settings)
    good = [document for document in documents if document.source.startswith("z-")]
    assert len(good) == 20
    return found | {
        document.source: str(len(document.text)) for document in documents if not document.source.startswith("z-")
    }


def test_what_is_no_document_is_named(good: Path) -> None:
    (good / "loop").symlink_to(good)
    (good / "self").symlink_to(good / "self")
    (good / "nowhere.txt").symlink_to(good / "missing.txt")
    (good / ".git").mkdir()
    (good / ".git" / "HEAD.txt").write_text("not read")
    (good / ".hidden.txt").write_text("not read")
    os.mkfifo(good / "pipe.txt")
    (good / "a.docx").write_bytes(b"PK\3\4")
    Path(os.fsdecode(os.fsencode(good) + b"/\xff.txt")).write_text("text")
    (good / "line\nend.txt").write_text("text")
    (good / "empty.txt").touch()
    (good / "empty.jsonl.gz").touch()
    (good / "blank.md").write_text(" \n\t\n\0")
    (good / "blank.html").write_text("<!-- only --> <script>x</script>")
    (good / "wrong.txt").write_bytes(b"text\n\xe9t\xe9")
    (good / "large.txt").write_text("x" * 50_001)
    (good / "long.md").write_text("x" * 5_001)
    assert others(good, max_file_bytes=50_000, max_characters=5_000) == {
        "loop": "is a link to a folder that was met already",
        "self": "is a link to nothing",
        "nowhere.txt": "is a link to nothing",
        ".git": "is a hidden folder",
        ".hidden.txt": "is hidden",
        "pipe.txt": "is not a plain file",
        "a.docx": "is of a kind that is not read (.docx)",
        "\\udcff.txt": "has a name with control characters, or not in UTF-8",
        "line\\nend.txt": "has a name with control characters, or not in UTF-8",
        "empty.txt": "is empty",
        "empty.jsonl.gz": "is empty",
        "blank.md": "is empty",
        "blank.html": "is empty",
        "wrong.txt": "is not UTF-8: invalid continuation byte at byte 6 (0xe9)",
        "large.txt": "has 50,001 bytes, more than max_file_bytes (50,000)",
        "long.md": "has 5,001 characters, more than max_characters (5,000)",
    }


def test_bombs_and_deep_nests_are_named_or_read(good: Path) -> None:
    rows = jsonl([{"text": "kept"}, {"text": "also kept"}])
    cyclic = pdf(words("one"), words("two")).replace(b"/Kids [4 0 R 6 0 R]", b"/Kids [2 0 R 2 0 R]")
    files = {
        "bomb.jsonl.gz": gzip.compress(rows) + gzip.compress(b'{"text": "' + b"a" * 14_000_000, 1),
        "lines.jsonl.gz": gzip.compress(rows + b"\n" * 1_000_000),
        "cut.jsonl.gz": gzip.compress(rows * 9, mtime=0)[:-9],
        "line.jsonl": rows + b'{"text": "' + b"a" * 10_000_000 + b'"}\n{"text": "' + b"a" * 1_000_000 + b'"}\n' + rows,
        "line.html": b"<p>" + b"aa" * 5_000_000,
        "line.md": b"*a " * 20_000,
        "deep.html": b"<div><b>" * 100_000 + b"deep",
        "deep.md": b"> - " * 20 + b"deep",
        "deep.json": b"[" * 1_000_000,
        "deep-object.json": b'{"a":' * 1_000_000,
        "flate.pdf": pdf((spaces(200), "/Filter /FlateDecode"), words("after")),
        "twice.pdf": pdf((deflated(spaces(200))[0], "/Filter [/FlateDecode /FlateDecode]")),
        "cyclic.pdf": cyclic,
    }
    for name, content in files.items():
        (good / name).write_bytes(content)
    found = others(good, max_file_bytes=12_000_000, max_characters=100_000)
    rest = "unpacks to more bytes than max_file_bytes (12,000,000); the rest is left out"
    assert found.pop("bomb.jsonl.gz:3") == found.pop("line.jsonl:3") == "is longer than 2,248,576 bytes"
    assert found.pop("bomb.jsonl.gz") == found.pop("lines.jsonl.gz") == rest
    assert found.pop("cut.jsonl.gz").startswith("is damaged: Compressed file ended before")
    assert found.pop("line.jsonl:4") == "has 1,000,000 characters, more than max_characters (100,000)"
    assert found.pop("line.html") == "has 10,000,000 characters, more than max_characters (100,000)"
    assert found.pop("line.md") == "59999"
    assert found.pop("deep.html") == "4"
    assert int(found.pop("deep.md")) > 4
    assert found.pop("deep.json").startswith("is not JSON")
    assert found.pop("deep-object.json").startswith("is not JSON")
    assert found.pop("flate.pdf:page 1").startswith("is damaged: Limit reached while decompressing")
    assert found.pop("flate.pdf") == "5"
    assert found.pop("twice.pdf:page 1").startswith("is damaged")
    assert found.pop("cyclic.pdf:page 1").startswith("is damaged")
    assert found.pop("twice.pdf") == found.pop("cyclic.pdf") == "has no page that can be read"
    assert set(found.values()) == {"4", "9"}  # the rows that are kept


def test_a_file_of_few_bytes_and_endless_rows_ends(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    file = tmp_path / "r.parquet"
    text = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 300_000, pyarrow.int8()), ["x" * 1000])
    parquet.write_table(pyarrow.table({"text": text}), file, compression="zstd")
    assert file.stat().st_size < 50_000
    documents, rejected = read(file, max_file_bytes=1_000_000)
    assert len(documents) == 1_000_000 // 1064 + 1
    assert list(rejected) == ["r.parquet"]
    assert rejected["r.parquet"].startswith("unpacks to more bytes")


def test_a_file_that_needs_too_much_memory_costs_no_other(tmp_path: Path) -> None:
    for name in ("b.md", "c.html", "g.json", "i.csv"):
        (tmp_path / f"a-{name}").write_bytes(KINDS[name])
        (tmp_path / f"z-{name}").write_bytes(KINDS[name].replace(b'"id"', b'"i"').replace(b"id,", b"i,"))
    (tmp_path / "memory.json").write_bytes(b"[" + b"[]," * 2_000_000 + b"[]]")
    documents, rejected = read(tmp_path, Limits(memory_bytes=128 << 20))
    assert len(documents) == 2 * 6
    assert rejected == {"memory.json": "needs more than 128 MiB of memory"}


HOSTILE_READER = """
import os, signal, time
class PdfReader:
    is_encrypted = False
    metadata = None
    def __init__(self, content):
        self.content = content.read()
    @property
    def pages(self):
        what = self.content[:4]
        if what == b"dies":
            os.kill(os.getpid(), signal.SIGSEGV)
        if what == b"kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == b"exit":
            os._exit(3)
        if what == b"hang":
            time.sleep(600)
        while what == b"spin":
            pass
        if what == b"writ":
            open("written.txt", "w").write("x" * 100000)
        if what == b"odds":
            raise KeyError("odd\\n" + "x" * 1000)
        return [self]
    def extract_text(self):
        print("noise on the standard output")
        return self.content.decode()
"""


@pytest.fixture
def corpus_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Make a corpus of files that say what their reader does."""
    (tmp_path / "pypdf.py").write_text(HOSTILE_READER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    corpus = tmp_path / "corpus"
    corpus.mkdir()

    def make(deeds: str) -> Path:
        for number, deed in enumerate(deeds.split()):
            (corpus / f"{number}.pdf").write_text(deed)
        return corpus

    return make


def test_a_reader_that_dies_or_hangs_costs_its_file_alone(corpus_of: Callable[[str], Path]) -> None:
    before = children()
    documents, rejected = read(
        corpus_of("dies good kill hang exit odds writ good dies good"), Limits(silence_seconds=3)
    )
    assert [document.id for document in documents] == ["1.pdf", "7.pdf", "9.pdf"]
    assert rejected.pop("5.pdf").startswith("is not a PDF, or damaged: 'odd")
    assert rejected == {
        "0.pdf": "crashes its reader (SIGSEGV)",
        "2.pdf": "had its reader killed, perhaps for want of memory",
        "3.pdf": "gave nothing for 3 s",
        "4.pdf": "crashes its reader (exit code 3)",
        "6.pdf": "cannot be read: File too large",
        "8.pdf": "crashes its reader (SIGSEGV)",
    }
    assert children() == before


def test_an_endless_loop_ends(corpus_of: Callable[[str], Path]) -> None:
    documents, rejected = read(corpus_of("good spin good"), Limits(cpu_seconds=1))
    assert [document.id for document in documents] == ["0.pdf", "2.pdf"]
    assert rejected == {"1.pdf": "takes more than 1 s of CPU time"}


def test_a_build_that_breaks_off_leaves_no_process_and_its_own_faults_are_its_own(good: Path) -> None:
    before = children()
    documents = read_documents(Corpus(path=str(good)), lambda rejected: None)
    next(documents)
    assert children() > before
    documents.close()
    assert children() == before

    def full(rejected: Rejected) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (good / "a.jsonl").write_text("{\n")
    with pytest.raises(OSError, match="No space left"):
        list(read_documents(Corpus(path=str(good)), full))
    assert children() == before


def test_what_vanishes_or_is_forbidden_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.txt", "b.txt", "c.jsonl", "d.md", "e.csv"):
        (tmp_path / name).write_text("text")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "g.txt").write_text("text")
    listing, opening = os.listdir, os.open

    def listdir(path: Path) -> list[str]:
        if Path(path).name == "f":
            raise PermissionError(errno.EACCES, "Permission denied")
        return listing(path)

    def open_(path: str, *flags: int, **more: int) -> int:
        if str(path).endswith("c.jsonl"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opening(path, *flags, **more)

    monkeypatch.setattr(os, "listdir", listdir)
    monkeypatch.setattr(os, "open", open_)
    rejected: list[Rejected] = []
    documents = read_documents(Corpus(path=str(tmp_path)), rejected.append)
    assert next(documents).id == "a.txt"
    (tmp_path / "b.txt").unlink()
    assert [document.id for document in documents] == ["d.md"]
    assert {reject.place: reject.reason for reject in rejected} == {
        "b.txt": "was there and vanished",
        "c.jsonl": "cannot be read: Permission denied",
        "f": "cannot be listed: Permission denied",
    }


DAMAGE = st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=12))


@settings(max_examples=3, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(KINDS)), st.lists(DAMAGE, min_size=1, max_size=4)), min_size=30, max_size=60
    )
)
def test_damaged_bytes_give_documents_or_reasons(damages: list[tuple[str, list[tuple[float, int, bytes]]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, edits) in enumerate(damages):
            content = KINDS[name]
            for where, gone, new in edits:
                at = int(where * len(content))
                content = content[:at] + new + content[at + gone :]
            (Path(folder) / f"{number}-{name}").write_bytes(content)
        documents, rejected = read(Path(folder), Limits(cpu_seconds=20))
    told = {document.source for document in documents} | set(rejected)
    for number, (name, _) in enumerate(damages):
        file = f"{number}-{name}"
        # a table of which only the header is left has no rows
        assert any(place.startswith(file) for place in told) or name[0] in "eijkl"
    for document in documents:
        assert document.text.strip()
        json.dumps([document.id, document.text, document.title, dict(document.metadata)], allow_nan=False).encode()
        assert all(0 <= section.start < len(document.text) for section in document.sections)
    for place, reason in rejected.items():
        assert reason == " ".join(reason.split())
        assert folder not in place + reason


def test_pure_noise_of_every_kind_gives_no_more_than_reasons(tmp_path: Path) -> None:
    noise = random.Random(0)
    for name in KINDS:
        for number in range(5):
            (tmp_path / f"{number}{name}").write_bytes(b"\xff" + noise.randbytes(noise.randrange(3000)))
    documents, rejected = read(tmp_path)
    assert documents == []
    assert {place.split(":")[0] for place in rejected} == {f"{number}{name}" for name in KINDS for number in range(5)}
