"""Curves as files: what is written reads back the same."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from engine.report.curve_files import as_csv, as_json, as_svg


@dataclass(frozen=True)
class Points:
    attempt: np.ndarray
    step: np.ndarray
    time: np.ndarray
    value: np.ndarray


def points(*values: float) -> Points:
    count = len(values)
    return Points(np.ones(count, np.int64), np.arange(1, count + 1), np.arange(count) + 1.5, np.array(values))


SERIES = {"loss": points(2.0, 0.1 + 0.2, math.nan), "a<b&c": points(1.0, math.inf, -1e-300)}


def test_every_point_reads_back_the_same_from_csv_and_json() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(SERIES))))
    assert rows[0] == {"name": "loss", "attempt": "1", "step": "1", "time": "1970-01-01T00:00:01.500Z", "value": "2.0"}
    assert [float(row["value"]) for row in rows if row["name"] == "a<b&c"] == [1.0, math.inf, -1e-300]
    told = json.loads(as_json(SERIES))
    assert [point["value"] for point in told] == [2.0, 0.1 + 0.2, None, 1.0, None, -1e-300]
    assert [point.get("nonfinite") for point in told] == [None, None, "nan", None, "inf", None]


def test_the_picture_is_a_document_of_its_own_that_nothing_in_names_can_break() -> None:
    text = as_svg(("loss", "a<b&c"), SERIES, [(2, "restart")], "sft-0001: <loss>")
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    told = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert told[:3] == ["sft-0001: <loss>", "loss, nats", "a<b&c"]
    classes = [node.get("class") or "" for node in root.iter()]
    assert "mark" in classes and "lost" in classes and any(one.startswith("curve k1") for one in classes)
