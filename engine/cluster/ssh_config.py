"""How to reach a host, as the OpenSSH client's configuration says."""

from __future__ import annotations

import getpass
import glob
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import paramiko

from engine.cluster.known_hosts import SSH_PORT
from engine.errors import InvalidInput

CONFIG_VARIABLE = "PLUMBLINE_SSH_CONFIG"
CONNECT_SECONDS = 5.0
INCLUDE_DEPTH = 16  # as in OpenSSH

_USER_FOLDER, _SYSTEM_FOLDER = Path("~/.ssh"), Path("/etc/ssh")
_DEFAULT_KEYS = ("id_rsa", "id_ecdsa", "id_ed25519")
_LINE = re.compile(r"(\w+)(?:\s*=\s*|\s+)(.+)")
_JUMP = re.compile(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^:@]+)(?::(?P<port>[0-9]+))?")

# What paramiko can decide, and how many words each takes. It takes any other criterion for fulfilled.
_CRITERIA = {"all": 0, "canonical": 0, "final": 0, "host": 1, "originalhost": 1, "user": 1, "localuser": 1, "exec": 1}
_LISTS_OF_FILES = ("userknownhostsfile", "globalknownhostsfile")
_NEVER = "originalhost !*"


@dataclass(frozen=True, slots=True)
class Jump:
    """A host on the way to another; what is null stands in the configuration."""

    host: str
    user: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a host's SSH server is, and how to be let in."""

    alias: str
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    identities_chosen: bool  # whether the files were named, or are those that ssh tries by default
    identities_only: bool
    use_agent: bool
    jumps: tuple[Jump, ...]  # nearest first
    proxy_command: str | None
    connect_seconds: float
    known_hosts: tuple[Path, ...]  # first those of the user
    host_key_alias: str | None

    @property
    def server(self) -> str:
        """What error messages call it."""
        return f"port {self.port} of {self.hostname}"


class SSHConfig:
    """The configuration files, with what they include."""

    def __init__(self, parsed: paramiko.SSHConfig, file: Path | None) -> None:
        self._parsed = parsed
        self.file = file  # null: those that ssh reads without -F

    @classmethod
    def load(cls, file: str | None = None) -> Self:
        """Read the configuration: of `file`, else of $PLUMBLINE_SSH_CONFIG, else what ssh reads.

        Raises:
            InvalidInput: if the named file is not there, or a line is wrong.
        """
        chosen = file or os.environ.get(CONFIG_VARIABLE)
        path = Path(chosen).expanduser() if chosen else None
        if path is not None and not path.is_file():
            raise InvalidInput("there is no such SSH configuration file.", where=str(path))
        if path is not None:
            lines = list(_expanded(path, _USER_FOLDER))
        else:
            lines = list(_expanded(_USER_FOLDER / "config", _USER_FOLDER))
            lines += ["Match all", *_expanded(_SYSTEM_FOLDER / "ssh_config", _SYSTEM_FOLDER)]
        try:
            return cls(paramiko.SSHConfig.from_text("\n".join(lines)), path)
        except paramiko.ConfigParseError as error:
            raise InvalidInput(f"the SSH configuration is wrong: {error}.", where=_name(path)) from error

    def endpoint(self, jump: Jump) -> Endpoint:
        """Return how to reach a host by its name or alias.

        Raises:
            InvalidInput: if a value of the configuration cannot be used.
        """
        try:
            found = self._parsed.lookup(jump.host)
            return self._endpoint(jump, found)
        except (ValueError, KeyError, paramiko.SSHException) as error:
            raise InvalidInput(
                f"the SSH configuration of {jump.host} cannot be used: {error}.", where=_name(self.file)
            ) from error

    def _endpoint(self, jump: Jump, found: paramiko.SSHConfigDict) -> Endpoint:
        def text(key: str, default: str) -> str:
            return str(found.get(key) or default)

        def files(key: str, default: str) -> tuple[Path, ...]:
            names = [name.replace("%d", str(Path.home())) for name in shlex.split(text(key, default))]
            return tuple(Path(name).expanduser() for name in names if name.lower() != "none")

        keys: Sequence[str] = [name for name in found.get("identityfile") or () if name.lower() != "none"]
        defaults = [(_USER_FOLDER / name).expanduser() for name in _DEFAULT_KEYS]
        jumps = text("proxyjump", "none")
        seconds = text("connecttimeout", "none")
        return Endpoint(
            alias=jump.host,
            hostname=text("hostname", jump.host),
            port=jump.port or int(text("port", str(SSH_PORT))),
            user=jump.user or text("user", getpass.getuser()),
            identity_files=tuple(Path(name).expanduser() for name in keys) if keys else tuple(defaults),
            identities_chosen=bool(keys),
            identities_only=text("identitiesonly", "no").lower() in ("yes", "true"),
            use_agent=text("identityagent", "SSH_AUTH_SOCK").lower() != "none",
            jumps=() if jumps.lower() == "none" else tuple(_jump(word.strip()) for word in jumps.split(",")),
            proxy_command=found.get("proxycommand"),
            connect_seconds=float(seconds) if seconds.lower() != "none" else CONNECT_SECONDS,
            known_hosts=(
                *files("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2"),
                *files("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"),
            ),
            host_key_alias=found.get("hostkeyalias"),
        )


def _name(file: Path | None) -> str:
    return str(file or _USER_FOLDER / "config")


def _jump(text: str) -> Jump:
    match = _JUMP.fullmatch(text)
    if match is None:
        raise ValueError(f"ProxyJump {text!r} is not [USER@]HOST[:PORT]")
    return Jump(match["host"].strip("[]"), match["user"], int(match["port"]) if match["port"] else None)


def _expanded(file: Path, folder: Path, condition: str = "all", depth: int = 0) -> Iterator[str]:
    """Yield the lines of a configuration file with its Includes in place, which paramiko does not follow.

    Args:
        file: the file; one that cannot be read is empty, as with ssh.
        folder: what relative Includes are relative to.
        condition: the criteria of the block in which it is included. They hold for all its blocks as well.
        depth: of the Include.

    Raises:
        InvalidInput: if Includes are nested too deeply.
    """
    if depth > INCLUDE_DEPTH:
        raise InvalidInput(f"Include is nested more than {INCLUDE_DEPTH} deep.", where=str(file))
    try:
        text = file.expanduser().read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    block = condition
    for line in text.splitlines():
        match = _LINE.match(line.strip())
        keyword = match[1].lower() if match else ""
        if match is not None and keyword in _LISTS_OF_FILES:
            yield f'{keyword} "{match[2]}"'  # paramiko takes the outer quotation marks away, were they a pair or not
            continue
        if match is None or keyword not in ("host", "match", "include"):
            yield line
            continue
        try:
            words = shlex.split(match[2])
        except ValueError:
            raise InvalidInput(f"a quotation mark is not closed: {line.strip()[:80]}", where=str(file)) from None
        if keyword == "include":
            for name in words:
                pattern = folder.expanduser() / Path(os.path.expandvars(name)).expanduser()
                for included in sorted(glob.glob(str(pattern))):  # noqa: PTH207  # absolute patterns
                    yield from _expanded(Path(included), folder, block, depth + 1)
            yield f"Match {block}"
        else:
            own = "originalhost " + shlex.quote(",".join(words)) if keyword == "host" else _criteria(words)
            block = _both(condition, own)
            yield f"Match {block}"


def _criteria(words: Sequence[str]) -> str:
    """Return the criteria of a Match line as paramiko reads them: in small letters, and none that it cannot decide."""
    known: list[str] = []
    rest = list(words)
    while rest:
        keyword = rest.pop(0).lower()
        arguments = _CRITERIA.get(keyword.removeprefix("!"))
        if arguments is None or len(rest) < arguments:
            return _NEVER
        known += [keyword, *(shlex.quote(rest.pop(0)) for _ in range(arguments))]
    return " ".join(known)


def _both(outer: str, inner: str) -> str:
    if outer == "all":
        return inner
    return outer if inner == "all" else f"{outer} {inner}"
