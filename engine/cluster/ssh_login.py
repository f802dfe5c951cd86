"""Being let in: the server proves by its host key who it is, we prove by a key of ours who we are."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import paramiko

from engine.cluster.known_hosts import SSH_PORT, KnownHosts, fingerprint, name_of
from engine.cluster.ssh_config import Endpoint
from engine.errors import Barred, Unreachable

_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")


def known_hosts_of(endpoint: Endpoint) -> KnownHosts:
    """Return what the known_hosts files say of a host."""
    if endpoint.host_key_alias is not None:
        return KnownHosts(endpoint.known_hosts, endpoint.host_key_alias.lower())
    bare = endpoint.hostname.lower() if endpoint.port != SSH_PORT else None
    return KnownHosts(endpoint.known_hosts, name_of(endpoint.hostname, endpoint.port), bare)


def prefer_known_types(transport: paramiko.Transport, known: KnownHosts) -> None:
    """Ask the server for a host key of a type that is known, if it has several."""
    wanted = {name for key_type in known.key_types for name in (key_type, *_signatures(key_type))}
    options = transport.get_security_options()
    options.key_types = sorted(options.key_types, key=lambda name: name not in wanted)


def _signatures(key_type: str) -> tuple[str, ...]:
    return _RSA_SIGNATURES if key_type == "ssh-rsa" else ()


def verify_host_key(key: paramiko.PKey, endpoint: Endpoint, known: KnownHosts, *, direct: bool, where: str) -> None:
    """Check the key that the server has proved to own. There is no way to let an unknown one pass.

    Args:
        key: its public key.
        endpoint: the server.
        known: what the known_hosts files say of it.
        direct: whether this machine reaches it without a jump host, so that ssh-keyscan does as well.
        where: the host as error messages name it.

    Raises:
        Barred: if the key is unknown, another than known, or revoked.
    """
    blob, key_type = key.asbytes(), key.get_name()
    shown = f"{key_type} {fingerprint(blob)}"
    revoked = known.revoked(blob)
    if revoked is not None:
        raise Barred(
            f"{endpoint.server} has a host key that {revoked.where} revokes: {shown}.",
            hint="Do not trust this machine; ask who looks after it.",
            where=where,
        )
    if known.knows(blob):
        return
    file = str(endpoint.known_hosts[0]) if endpoint.known_hosts else "~/.ssh/known_hosts"
    accept = f"ssh {shlex.quote(endpoint.alias)} true"
    if direct and endpoint.host_key_alias is None:
        accept = f"ssh-keyscan -p {endpoint.port} {shlex.quote(endpoint.hostname)} >> {shlex.quote(file)}"
    other = known.other(key_type)
    if other is not None:
        name = endpoint.host_key_alias or name_of(endpoint.hostname, endpoint.port)
        forget = f"ssh-keygen -f {shlex.quote(str(other.file))} -R {shlex.quote(name)}"
        raise Barred(
            f"the host key of {endpoint.server} HAS CHANGED: it is {shown}, but {other.where} says "
            f"{fingerprint(other.key)}. Somebody may pose as this machine, or it was set up anew.",
            hint=f"Ask who looks after it. If it was set up anew: {forget}; then {accept}",
            where=where,
        )
    certified = "a certificate authority vouches for it, which Plumbline cannot check" if known.cert_authorities else ""
    raise Barred(
        f"the host key of {endpoint.server} is not known{', only ' + certified if certified else ''}: {shown}.",
        hint=f"Compare it with what `ssh-keygen -lf` prints for the key there. To accept it: {accept}",
        where=where,
    )


@dataclass(slots=True)
class _Attempts:
    """What was tried and what could not be."""

    tried: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    encrypted: Path | None = None


def authenticate(transport: paramiko.Transport, endpoint: Endpoint, where: str) -> None:
    """Log in with a key: those of the SSH agent and the files, in ssh's order.

    Raises:
        Unreachable: if no key is accepted, or a key is not enough.
    """
    attempts = _Attempts()
    for name, key in _keys(endpoint, attempts):
        attempts.tried.append(name)
        try:
            missing = transport.auth_publickey(endpoint.user, key)
        except paramiko.BadAuthenticationType as error:
            ways = ", ".join(error.allowed_types)
            raise Barred(
                f"{endpoint.server} does not let {endpoint.user} in by a key, only by {ways}.",
                hint="Plumbline cannot ask for passwords; let a key be enough there.",
                where=where,
            ) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            if "timeout" in str(error).lower():
                raise Unreachable(f"{endpoint.server} did not answer while logging in.", where=where) from error
            if not transport.is_active():
                attempts.unusable.append("the server then closed the connection")
                break
            continue
        if not missing:
            return
        raise Barred(
            f"{endpoint.server} asks {endpoint.user} for {', '.join(missing)} after the key.",
            hint="Plumbline cannot answer; let a key be enough there.",
            where=where,
        )
    tried = f"tried {', '.join(attempts.tried)}" if attempts.tried else "there is no key to try"
    raise Barred(
        f"{endpoint.server} does not let {endpoint.user} in: {'; '.join([tried, *attempts.unusable])}.",
        hint=_advice(endpoint, attempts),
        where=where,
    )


def _advice(endpoint: Endpoint, attempts: _Attempts) -> str:
    if attempts.encrypted is not None:
        return f"Unlock it for the SSH agent: ssh-add {shlex.quote(str(attempts.encrypted))}"
    at = f"-p {endpoint.port} " if endpoint.port != SSH_PORT else ""
    return f"To let your key in: ssh-copy-id {at}{endpoint.user}@{endpoint.hostname}"


def _keys(endpoint: Endpoint, attempts: _Attempts) -> Iterator[tuple[str, paramiko.PKey]]:
    """Yield the keys to try: of the agent those that were named first, then the others, then those of the files."""
    public = {file: blob for file in endpoint.identity_files if (blob := _public_blob(file)) is not None}
    offered: set[bytes] = set()
    if endpoint.use_agent:
        with _agent_keys() as held:
            for key in sorted(held, key=lambda key: key.asbytes() not in public.values()):
                if not endpoint.identities_only or key.asbytes() in public.values():
                    offered.add(key.asbytes())
                    yield f"agent key {key.comment or fingerprint(key.asbytes())}", key
    for file in endpoint.identity_files:
        if public.get(file) not in offered and file.suffix != ".pub":
            loaded = _load(file, attempts, named=endpoint.identities_chosen)
            if loaded is not None and loaded.asbytes() not in offered:
                yield str(file), loaded


@contextmanager
def _agent_keys() -> Iterator[tuple[paramiko.AgentKey, ...]]:
    """Give the keys that the SSH agent holds, for as long as the connection to it is kept."""
    try:
        agent = paramiko.Agent()
    except (paramiko.SSHException, OSError):
        yield ()
        return
    with closing(agent):
        yield agent.get_keys()


def _public_blob(file: Path) -> bytes | None:
    """Return the public key that lies beside a private one, or is named itself."""
    path = file if file.suffix == ".pub" else file.with_name(f"{file.name}.pub")
    try:
        return base64.b64decode(path.read_text(encoding="utf-8").split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _load(file: Path, attempts: _Attempts, *, named: bool) -> paramiko.PKey | None:
    """Return the private key of a file; none where it cannot be used, which is noted."""
    try:
        return paramiko.PKey.from_path(file)
    except FileNotFoundError:
        if named:
            attempts.unusable.append(f"there is no key file {file}")
    except OSError as error:
        attempts.unusable.append(f"{file} cannot be read: {error.strerror}")
    except (paramiko.PasswordRequiredException, TypeError):  # the second is what cryptography says
        attempts.unusable.append(f"{file} is encrypted, and the SSH agent does not hold it")
        attempts.encrypted = attempts.encrypted or file
    except Exception as error:  # whatever a parser says of a damaged file, or of a kind of key it does not know
        attempts.unusable.append(f"{file} is no private key that can be used ({type(error).__name__})")
    return None
