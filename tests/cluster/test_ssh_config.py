"""The SSH configuration is read as OpenSSH's own client reads it: `ssh -G` is asked for every case."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from engine.cluster.ssh_config import CONFIG_VARIABLE, Jump, SSHConfig
from engine.errors import InvalidInput

MAIN = """\
ConnectTimeout 7
Include "{folder}/parts/*.conf"
User fallback

Host gpu-?  !gpu-9
    HostName %h.lan
    Port=2200
    IdentityFile "{folder}/a key"
    IdentityFile ~/.ssh/second
    Include {folder}/inner
    UserKnownHostsFile "{folder}/known hosts" /second

Host gpu-* inner-*
    ProxyJump me@gate:2222,second

Match OriginalHost gpu-2 User late
    Port 2299

Host second gate
    ProxyJump none
    HostKeyAlias doors

Match host deep.lan
    IdentitiesOnly yes
    GlobalKnownHostsFile none
"""
PARTS = {
    "parts/10-first.conf": "Host early\n  User first\n  Port 10\n",
    "parts/20-second.conf": "Host *\n  Include {folder}/deeper\n",
    "parts/ignored.txt": "User nobody\n",
    "deeper": "Host early deep\n  HostName deep.lan\n",
    "inner": "Host gpu-2\n  User late\nHost inner-1\n  Port 1111\n",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name, text in {"config": MAIN, **PARTS}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("{folder}", str(tmp_path)))
    return tmp_path / "config"


def openssh(file: Path, host: str) -> dict[str, list[str]]:
    """Return what `ssh -G` says: each keyword's values."""
    said = subprocess.run(["ssh", "-F", str(file), "-G", host], capture_output=True, text=True, check=True).stdout
    values: dict[str, list[str]] = {}
    for line in said.splitlines():
        keyword, _, value = line.partition(" ")
        values.setdefault(keyword, []).append(value)
    return values


@pytest.mark.parametrize(
    "host",
    ["gpu-1", "gpu-2", "gpu-3", "gpu-9", "gpu-10", "early", "deep", "inner-1", "second", "gate", "elsewhere.org"],
)
def test_it_is_read_as_openssh_reads_it(file: Path, host: str) -> None:
    ours, theirs = SSHConfig.load(str(file)).endpoint(Jump(host)), openssh(file, host)
    assert [ours.hostname] == theirs["hostname"]
    assert [str(ours.port)] == theirs["port"]
    assert [ours.user] == theirs["user"]
    assert [str(int(ours.connect_seconds))] == theirs["connecttimeout"]
    assert ours.identities_only == (theirs["identitiesonly"] == ["yes"])
    assert [ours.host_key_alias] == theirs.get("hostkeyalias", [None])
    jumps = [f"{jump.user}@{jump.host}:{jump.port}" if jump.user else jump.host for jump in ours.jumps]
    assert ",".join(jumps) == ",".join(theirs.get("proxyjump", []))
    if ours.identities_chosen:
        assert [str(path) for path in ours.identity_files] == [
            str(Path(name).expanduser()) for name in theirs["identityfile"]
        ]
    files = " ".join(theirs["userknownhostsfile"] + theirs["globalknownhostsfile"]).replace(" none", "")
    assert " ".join(map(str, ours.known_hosts)) == files.replace("~", str(Path.home()))


def test_a_jump_names_what_the_configuration_does_not(file: Path) -> None:
    endpoint = SSHConfig.load(str(file)).endpoint(Jump("early", "me", 99))
    assert (endpoint.user, endpoint.port, endpoint.hostname) == ("me", 99, "deep.lan")


def test_the_environment_names_the_file_unless_the_hostfile_does(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = file.with_name("other")
    other.write_text("Port 5\n")
    monkeypatch.setenv(CONFIG_VARIABLE, str(other))
    assert SSHConfig.load().endpoint(Jump("early")).port == 5
    assert SSHConfig.load(str(file)).endpoint(Jump("early")).port == 10
    monkeypatch.setenv(CONFIG_VARIABLE, str(file.with_name("absent")))
    with pytest.raises(InvalidInput, match="no such SSH configuration"):
        SSHConfig.load()


def test_a_criterion_that_cannot_be_decided_is_not_fulfilled(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Match tagged x\n  Port 1\nMatch host\n  Port 2\nMatch !host a\n  Port 3\n")
    ports = [SSHConfig.load(str(config)).endpoint(Jump(host)).port for host in ("a", "b")]
    assert ports == [22, 3]


@pytest.mark.parametrize("text", ["Port many", "ProxyJump a@b@c:d", 'Host "a', "Include {file}", "Port"])
def test_what_cannot_be_used_names_the_file(tmp_path: Path, text: str) -> None:
    config = tmp_path / "config"
    config.write_text(text.replace("{file}", str(config)) + "\n")
    with pytest.raises(InvalidInput) as caught:
        SSHConfig.load(str(config)).endpoint(Jump("a"))
    assert caught.value.where == str(config)
