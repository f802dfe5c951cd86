"""What the detail pane tells of one index: what it holds, what made it, how well it finds, what was left out."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.content import Content

from engine.telemetry.metrics import unit_of
from engine.telemetry.numbers import duration, short
from engine.telemetry.states import State
from tui.index.facts import IndexFacts
from tui.text.pane import LABEL, QUIET, head, joined, pair, plain
from tui.text.safe import visible
from tui.text.wrapping import Line
from tui.theme import STATE_COLORS, glyph

if TYPE_CHECKING:
    from engine.rag.manifest import Manifest
    from engine.store.index_measures import IndexMeasure

_MOST_REJECTS, _MOST_FILES, _MOST_MEASURES = 12, 6, 6
_NAME, _SHORT, _VALUE = 18, 13, 7  # cells of a measure; with an interval behind it
_NAMES = {"query_seconds": "time of a query", "queries_per_second": "queries a second"}
_KEY = 24  # cells of a setting's key
_QUALITY = ("recall", "mrr", "ndcg", "index_recall", "query_seconds", "queries_per_second")  # before the @


def detail_text(facts: IndexFacts, width: int) -> Content:
    """Return the text of the pane. width: cells of a line."""
    return joined(_blocks(facts), width)


def _blocks(facts: IndexFacts) -> Iterator[Iterator[Line]]:
    yield _state(facts)
    if facts.manifest is not None:
        yield _contents(facts.manifest)
    yield _quality(facts.experiment.last)
    for one in facts.measures[:_MOST_MEASURES]:
        yield _measured(one, changed=one.manifest_sha256 != (facts.manifest_sha256 or one.manifest_sha256))
    if facts.manifest is not None:
        yield _left_out(facts, facts.manifest)
    yield _sources(facts)
    if facts.manifest is not None:
        yield _corpus(facts.manifest)
        yield _making(facts.manifest)


def _state(facts: IndexFacts) -> Iterator[Line]:
    experiment, speed = facts.experiment, facts.speed
    state = experiment.state
    yield plain(f"{glyph(state)} {state.value}", f"bold {STATE_COLORS[state]}")
    if experiment.reason:
        yield plain(experiment.reason.strip(), "$error" if state in (State.FAILED, State.LOST) else "$warning")
    if experiment.name != experiment.id:
        yield pair("name", experiment.name)
    if facts.manifest is None and experiment.total_steps:
        yield pair("chunks", f"{experiment.step:,} of {experiment.total_steps:,}")
    if speed is not None:
        yield pair("pace", f"{short(speed)} chunks/s")
    if facts.seconds_left is not None:
        yield pair("ETA", duration(facts.seconds_left))
    if facts.problem is not None:
        yield plain(facts.problem, "$warning")
    elif facts.path is None and state.ended:
        yield plain("It has made no index.", "$warning")


def _sources(facts: IndexFacts) -> Iterator[Line]:
    yield head("where")
    for key, path in facts.sources:
        yield pair(key, path)
    if facts.path is not None:
        yield pair("folder", facts.path)


def _quality(last: Mapping[str, float]) -> Iterator[Line]:
    found = [name for base in _QUALITY for name in last if name.partition("@")[0] == base]
    if not found:
        return
    yield head("quality, by the build")
    for name in found:
        value, unit = last[name], ""
        number = f"{value:.3f}" if unit_of(name) == "1" and math.isfinite(value) else short(value)
        if name == "query_seconds":
            number, unit = short(1000 * value), " ms"
        told = _NAMES.get(name, name.replace("_", " "))
        yield _measure(told, number, unit)


def _measured(one: IndexMeasure, *, changed: bool) -> Iterator[Line]:
    """Yield what `engine rag eval` found. changed: whether the index is another one since then."""
    yield head(f"quality, {one.mode}" + (f" by {one.fusion}" if one.fusion else ""))
    yield pair("measured", f"{duration(max(0.0, time.time() - one.measured_at))} ago")
    if changed:
        yield plain("The index was changed since then.", "$warning")
    yield pair("questions", f"{one.count:,} of {Path(one.questions).name}")
    for name, figure in one.figures.items():
        if figure is not None:
            value, low, high = figure
            yield _measure(name, f"{value:.3f}", f" {low:.3f}-{high:.3f}", width=_SHORT)
    yield _measure("a query", short(1000 * one.latency_p50), " ms", width=_SHORT)


def _measure(name: str, number: str, aside: str, *, width: int = _NAME) -> Line:
    return 0, Content.assemble((f"{name:<{width}}", QUIET), f"{number:>{_VALUE}}", (aside, QUIET))


def _contents(manifest: Manifest) -> Iterator[Line]:
    counts, used, vectors = manifest.counts, manifest.embedder, manifest.vectors
    yield head("holds")
    yield pair("documents", f"{counts.documents:,}")
    gone = f", {counts.removed:,} more removed" if counts.removed else ""
    yield pair("chunks", f"{counts.chunks - counts.removed:,}{gone}")
    yield pair("words", "BM25" if manifest.lexical else "not indexed: no lexical search")
    if vectors is None:
        yield pair("vectors", "none: no dense search")
    else:
        yield pair("vectors", vectors.factory)
        yield pair("why", vectors.reason)
        if vectors.recall_at_10 is not None:
            yield pair("finds", f"{vectors.recall_at_10:.1%} of the 10 nearest")
    if used is not None:
        yield pair("embedder", used.name)
        yield pair("", f"{used.dimension} dimensions, {used.precision}, reads {used.max_tokens} tokens")
        yield pair("", f"sha256 {used.fingerprint[:12]}")
        if counts.truncated:
            yield pair("cut", f"{counts.truncated:,} chunks are longer than it reads", "$warning")


def _making(manifest: Manifest) -> Iterator[Line]:
    yield head("settings")
    for key, value in _flat(manifest.settings):
        yield _KEY, Content.assemble((f"{visible(key):<{_KEY}}", QUIET), visible(_told(key, value)))


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _told(key: str, value: object) -> str:
    from engine.plan.sizes import in_words

    if value is None or value in ([], ""):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return in_words(value) if key.endswith("bytes") else f"{value:,}"
    return str(value)


def _left_out(facts: IndexFacts, manifest: Manifest) -> Iterator[Line]:
    counts = manifest.counts
    yield head("left out")
    parts = [_counted(counts.rejected, "input", "inputs"), _counted(counts.duplicates, "copy", "copies")]
    yield plain(", ".join(filter(None, parts)) or "nothing", "$warning" if counts.rejected else "")
    for one in facts.rejects[:_MOST_REJECTS]:
        yield 2, Content.assemble((f"{visible(one.place)} ", QUIET), visible(one.reason))
    if counts.rejected > _MOST_REJECTS:
        yield plain(f"engine rag show {facts.experiment.id} --rejects has all", QUIET)


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}" if number else ""


def _corpus(manifest: Manifest) -> Iterator[Line]:
    yield head("read from")
    for file in itertools.islice(manifest.corpus, _MOST_FILES):
        yield LABEL, Content.assemble((f"{str(file['sha256'])[:8]:<{LABEL}}", QUIET), visible(str(file["path"])))
    if len(manifest.corpus) > _MOST_FILES:
        yield plain(f"and {len(manifest.corpus) - _MOST_FILES:,} more files", QUIET)
