"""Host keys as OpenSSH's known_hosts files hold them: plain and hashed names, patterns, ports, revocations."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

SSH_PORT = 22


def fingerprint(key: bytes) -> str:
    """Return the SHA-256 fingerprint of a public key (as in RFC 4253, 6.6), as OpenSSH prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def name_of(host: str, port: int) -> str:
    """Return the name by which a host stands in known_hosts."""
    return host.lower() if port == SSH_PORT else f"[{host.lower()}]:{port}"


class Marker(Enum):
    """What a line says of its key, other than that the host has it."""

    REVOKED = "@revoked"
    CERT_AUTHORITY = "@cert-authority"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    file: Path
    line: int
    names: str  # patterns with commas between them, or one hashed name
    key_type: str
    key: bytes
    marker: Marker | None

    @property
    def where(self) -> str:
        """FILE:LINE."""
        return f"{self.file}:{self.line}"

    def matches(self, name: str) -> bool:
        """Whether the line is about the host of that name."""
        if self.names.startswith("|"):
            return _hash_matches(self.names, name)
        patterns = [pattern.lower() for pattern in self.names.split(",")]
        denied = any(_pattern_matches(pattern[1:], name) for pattern in patterns if pattern.startswith("!"))
        return not denied and any(_pattern_matches(pattern, name) for pattern in patterns)


def _hash_matches(hashed: str, name: str) -> bool:
    try:
        _, version, salt, digest = hashed.split("|")
        expected = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
        return version == "1" and hmac.compare_digest(expected, base64.b64decode(digest))
    except ValueError:
        return False


def _pattern_matches(pattern: str, name: str) -> bool:
    # Not fnmatch: brackets are part of a name here.
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, name) is not None


class KnownHosts:
    """The lines of several files about one host."""

    def __init__(self, files: Iterable[Path], name: str, bare_name: str | None = None) -> None:
        """Read the files; those that cannot be read know nothing, as with ssh.

        Args:
            files: known_hosts files.
            name: the host, as `name_of` says.
            bare_name: its name without a port; a key that stands there is as good, but a wrong one says nothing.
        """
        entries = [entry for file in files for entry in _entries(file)]
        about = [entry for entry in entries if entry.matches(name)]
        bare = [entry for entry in entries if bare_name is not None and entry.matches(bare_name)]
        self._revoked = [entry for entry in about + bare if entry.marker is Marker.REVOKED]
        self._own = [entry for entry in about if entry.marker is None]
        self._bare = [entry for entry in bare if entry.marker is None]
        self.cert_authorities = [entry for entry in about + bare if entry.marker is Marker.CERT_AUTHORITY]

    @property
    def key_types(self) -> set[str]:
        """The types of the keys that are known."""
        return {entry.key_type for entry in self._own + self._bare}

    def knows(self, key: bytes) -> bool:
        """Whether the host is known to have this key."""
        return any(entry.key == key for entry in self._own + self._bare)

    def revoked(self, key: bytes) -> Entry | None:
        """Return the line that revokes the key."""
        return next((entry for entry in self._revoked if entry.key == key), None)

    def other(self, key_type: str) -> Entry | None:
        """Return the line by which the host has another key of this type."""
        return next((entry for entry in self._own if entry.key_type == key_type), None)


def _entries(file: Path) -> Iterator[Entry]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    markers = {marker.value: marker for marker in Marker}
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        marker = markers.get(fields[0]) if fields else None
        if marker is not None:
            fields = fields[1:]
        if len(fields) < 3 or fields[0].startswith(("#", "@")):
            continue
        try:
            key = base64.b64decode(fields[2], validate=True)
        except binascii.Error:
            continue
        yield Entry(file, number, fields[0], fields[1], key, marker)
