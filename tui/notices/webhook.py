"""Notices as JSON to a URL, in a thread of its own: whoever is slow there holds up nobody here."""

from __future__ import annotations

import json
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from tui.notices.changes import Notice
from tui.text.safe import visible

_PATIENCE = 10.0  # seconds
_MOST_WAITING = 100  # notices


class Webhook:
    """Posts one notice after the other; what cannot be delivered is told once and forgotten."""

    def __init__(self, url: str, failed: Callable[[str], object], patience: float = _PATIENCE) -> None:
        """failed: called in the thread, with a sentence. patience: seconds that the other side has to answer."""
        self._url, self._failed, self._patience = url, failed, patience
        self._waiting: queue.Queue[Notice] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None

    def send(self, notice: Notice) -> None:
        """Send it soon. Returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._post_all, name="webhook", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(notice)
        except queue.Full:
            self._failed(f"The webhook at {_host(self._url)} is too slow: a notice on {notice.experiment} was dropped.")

    def _post_all(self) -> None:
        while True:
            problem = post(self._url, self._waiting.get(), self._patience)
            if problem is not None:
                self._failed(problem)


def document(notice: Notice, now: float) -> dict[str, object]:
    """Return what is posted; chats show its `text`. now: seconds since the epoch, UTC."""
    return {
        "text": notice.sentence,
        "event": notice.event,
        "experiment": notice.experiment,
        "name": notice.name,
        "step": notice.step,
        "time": now,
    }


def post(url: str, notice: Notice, patience: float) -> str | None:
    """Post a notice; return a sentence on what went wrong, or null. It names the host alone: the URL may be secret."""
    request = urllib.request.Request(
        url,
        json.dumps(document(notice, time.time())).encode(),
        {"Content-Type": "application/json", "User-Agent": "plumbline"},
    )
    try:
        with urllib.request.build_opener(_NoDetours).open(request, timeout=patience):
            return None
    except urllib.error.HTTPError as error:
        problem = f"HTTP {error.code}"
        error.close()
    except urllib.error.URLError as error:
        problem = str(error.reason)
    except (OSError, HTTPException, ValueError) as error:
        problem = str(error) or type(error).__name__
    return f"The webhook at {_host(url)} did not take the notice on {notice.experiment}: {visible(problem)}."


class _NoDetours(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its content: it is a failure."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        """Follow no redirection."""


def _host(url: str) -> str:
    return urlsplit(url).hostname or "?"
