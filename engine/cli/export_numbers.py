"""What an experiment measured and what its model wrote, out of the database into plain files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cli.measurements import sample_document
from engine.errors import Refused, RunFailed
from engine.telemetry.json_values import iso_time, json_number

if TYPE_CHECKING:
    from engine.store.database import Store

_METRICS = ("name", "attempt", "step", "time", "value")


def write_numbers(store: Store, identity: str, folder: Path, style: str) -> list[str]:
    """Write the metrics and samples of an experiment, and return the names of the files.

    Args:
        store: where from.
        identity: the experiment.
        folder: it is made if it does not exist.
        style: "csv" or "jsonl". Values and scores are written so that they read back the same.

    Raises:
        Refused: if the folder holds such files with another content.
        RunFailed: if they cannot be written.
    """
    if style == "csv":
        texts = {"metrics.csv": _csv(_METRICS, _points(store, identity)), "samples.csv": _samples_csv(store, identity)}
    else:
        texts = {"metrics.jsonl": _metrics_lines(store, identity), "samples.jsonl": _samples_lines(store, identity)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            file = folder / name
            if file.exists() and file.read_bytes() != text.encode():
                raise Refused(f"holds another {name}.", hint="Name another folder.", where=str(folder))
        for name, text in texts.items():
            temporary = folder / f".{name}.tmp"
            temporary.write_bytes(text.encode())
            temporary.replace(folder / name)
    except OSError as error:
        raise RunFailed(f"cannot be written: {error.strerror}.", where=str(error.filename or folder)) from error
    return list(texts)


def write_page(store: Store, identity: str, folder: Path) -> str:
    """Write a page on an experiment, and return the name of its file. Raises as `write_numbers` does."""
    from engine.report.comparing.building import build
    from engine.report.comparing.page import to_html
    from engine.report.written import write_file

    text = to_html(build(store, [identity]))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFailed(f"cannot be written: {error.strerror}.", where=str(error.filename or folder)) from error
    write_file(folder / f"{identity}.html", text, hint="Name another folder.")
    return f"{identity}.html"


def _points(store: Store, identity: str) -> Iterator[tuple[str, int, int, str | None, float]]:
    from engine.store import series

    for info in series.names(store, identity):
        points = series.read(store, identity, info.name)
        for attempt, step, time, value in zip(points.attempt, points.step, points.time, points.value, strict=True):
            yield info.name, attempt, step, iso_time(time), value


def _metrics_lines(store: Store, identity: str) -> str:
    lines = []
    for point in _points(store, identity):
        document: dict[str, Any] = dict(zip(_METRICS, point, strict=True))
        value = document["value"]
        document["value"] = json_number(value)
        if document["value"] is None:
            document["nonfinite"] = str(value)
        lines.append(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
    return "".join(lines)


def _samples_csv(store: Store, identity: str) -> str:
    from engine.store.samples import list_samples

    found = list_samples(store, identity)
    scores = list(dict.fromkeys(name for sample in found for name in sample.scores))
    header = ("step", "attempt", "time", "prompt", "response", "reference", *scores)
    return _csv(
        header,
        (
            (
                *(sample.step, sample.attempt, iso_time(sample.time)),
                *(sample.prompt, sample.response, sample.reference),
                *(sample.scores.get(name) for name in scores),
            )
            for sample in found
        ),
    )


def _samples_lines(store: Store, identity: str) -> str:
    from engine.store.samples import list_samples

    documents = (sample_document(sample) for sample in list_samples(store, identity))
    return "".join(json.dumps(each, ensure_ascii=False, allow_nan=False) + "\n" for each in documents)


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
