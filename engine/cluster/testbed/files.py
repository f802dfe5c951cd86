"""The files of a testbed: keys, the configuration of each sshd and of their clients, and the hostfile."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.cluster.testbed.ground import Place
from engine.errors import RunFailed

LEASES_VARIABLE = "PLUMBLINE_LEASES"  # names the folder in which a node keeps the leases of its slots

_SSHD_CONFIG = """\
ListenAddress {address}
Port {port}
HostKey "{folder}/{name}.key"
AuthorizedKeysFile "{folder}/client.pub"
PidFile none
StrictModes no
UsePAM no
UseDNS no
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserRC no
X11Forwarding no
PrintMotd no
LogLevel VERBOSE
SetEnv {variables}
"""

_SSH_CONFIG = """\
Host {name}
    HostName {address}
    Port {port}
    User {user}
    IdentityFile "{folder}/client"
    IdentitiesOnly yes
    UserKnownHostsFile "{folder}/known_hosts"
    GlobalKnownHostsFile none
    BatchMode yes
"""


def leases_folder(folder: Path, name: str) -> Path:
    """Return where a node keeps the leases of its slots; nodes of one machine would share its /tmp."""
    return folder / name / "leases"


def log_of(folder: Path, name: str) -> Path:
    """Return the log of a node's sshd."""
    return folder / f"{name}.log"


def config_of(folder: Path, name: str) -> Path:
    """Return the configuration of a node's sshd."""
    return folder / f"{name}.sshd_config"


def daemon_failed(folder: Path, name: str) -> RunFailed:
    """Return what to say of an sshd that does not start, with what its log says."""
    log = log_of(folder, name)
    said = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
    return RunFailed(f"the sshd of {name} does not start: {' '.join(said)}", where=str(log))


def write_keys(folder: Path, names: Sequence[str]) -> None:
    """Make the key pair of the client and the host key of each node, but for those that are there from before."""
    for file in (folder / "client", *(folder / f"{name}.key" for name in names)):
        if file.exists():
            continue
        comment = f"plumbline testbed {file.name}"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(file)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)


def write_sshd_config(folder: Path, place: Place, variables: Mapping[str, str]) -> None:
    """Write the configuration of a node's sshd. variables: of the environment of whatever is started over it."""
    # One line: of several SetEnv lines the first holds.
    words = " ".join(f'"{name}={value}"' for name, value in variables.items())
    values = {"name": place.name, "address": place.address, "port": place.port, "folder": folder, "variables": words}
    config_of(folder, place.name).write_text(_SSHD_CONFIG.format(**values), encoding="utf-8")


def write_client_files(folder: Path, places: Sequence[Place], proxy: Sequence[str]) -> None:
    """Write `ssh_config` and `known_hosts`.

    Args:
        folder: where the keys are.
        places: the nodes.
        proxy: the command that connects to %h %p; empty where they are reached straight.
    """
    user = pwd.getpwuid(os.geteuid()).pw_name
    way = f"    ProxyCommand {shlex.join(proxy)} %h %p\n" if proxy else ""
    ssh_config, known_hosts = "", ""
    for place in places:
        values = {"name": place.name, "address": place.address, "port": place.port, "folder": folder, "user": user}
        ssh_config += f"{_SSH_CONFIG.format(**values)}{way}\n"
        public = (folder / f"{place.name}.key.pub").read_text(encoding="utf-8").split()
        known_hosts += f"[{place.address}]:{place.port} {public[0]} {public[1]}\n"
    (folder / "ssh_config").write_text(ssh_config, encoding="utf-8")
    (folder / "known_hosts").write_text(known_hosts, encoding="utf-8")


def write_hostfile(folder: Path, slots: int, settings: Mapping[str, str], addresses: Mapping[str, str]) -> None:
    """Write `hostfile`.

    Args:
        folder: where to.
        slots: of each node.
        settings: of all nodes.
        addresses: by which the other nodes reach a node, by its name.
    """
    if len(set(addresses.values())) == 1:
        lines = [f"# plumbline: {_words({**settings, 'address': next(iter(addresses.values()))})}"]
    else:
        lines = [f"# plumbline: {_words(settings)}"]
        lines += [f"# plumbline[{name}]: {_words({'address': address})}" for name, address in addresses.items()]
    lines += [f"{name} slots={slots}" for name in addresses]
    (folder / "hostfile").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _words(settings: Mapping[str, str]) -> str:
    return " ".join(shlex.quote(f"{key}={value}") for key, value in settings.items())
