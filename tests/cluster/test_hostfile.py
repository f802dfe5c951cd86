"""Hostfiles: what we accept, DeepSpeed reads alike; what we refuse, we name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cluster.hostfile import Node, load_hostfile, local_hostfile, parse_hostfile
from engine.errors import InvalidInput

EXAMPLES = Path(__file__).parents[2] / "hostfiles"

names = st.sampled_from(["worker-1", "node2.lan", "10.0.0.7", "fe80::1", "A_b", "a", "b", "c"])
good = st.builds(
    "{}{}{}slots={}{}".format,
    st.sampled_from(["", "  ", "\t"]),
    names,
    st.sampled_from([" ", "  ", "\t", "\xa0", "\x0c"]),
    st.sampled_from(["1", "8", "064"]),
    st.sampled_from(["", " ", "\t# eight GPUs", " #slots=2", "\x0c", "\u2028"]),
)
ignored = st.sampled_from(["", "   ", "# a comment", "  # worker-9 slots=9", "# plumbline: shared=yes"])
odd_counts = [
    "a slots=0",
    "b slots=2x",
    "c slots= 2",
    "d Slots=2",
    "e slots=٣",
    "f  slots=2 slots=3",
    "nonsense",
    "slots=1",
]
odd_hosts = [
    "-x slots=1",
    "a@b slots=1",
    "é slots=1",
    "; slots=1",
    "slots=3 slots=1",
    "g\x0bslots=2",
    "h\u2028i slots=1",
]
odd = st.sampled_from([*odd_counts, *odd_hosts])
lines = st.one_of(good, good, good, ignored, odd)


@given(st.lists(lines, max_size=6), st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_is_accepted_deepspeed_reads_alike(texts: list[str], newline: str) -> None:
    from deepspeed.launcher.runner import _parse_hostfile

    text = newline.join(texts)
    try:
        nodes = parse_hostfile(text, "hosts").nodes
    except InvalidInput:
        return
    # As `readlines` of a text file gives them.
    rows = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert [(node.host, node.slots) for node in nodes] == list(_parse_hostfile(rows).items())


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True), st.integers(1, 64), min_size=1
    )
)
def test_what_deepspeed_reads_of_plain_files_is_accepted(slots: dict[str, int]) -> None:
    slots.pop("localhost", None)
    text = "".join(f"{host}  slots={count}\n\n# next\n" for host, count in slots.items())
    if slots:
        assert {node.host: node.slots for node in parse_hostfile(text, "hosts").nodes} == slots


def test_settings_are_of_all_nodes_or_of_one_wherever_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text(
        "#plumbline[b]: python=~/venv/bin/python 'workdir=/my data'\n"
        "a slots=1\n"
        "b slots=2  # the big one\n"
        "# plumbline: workdir=/data shared=yes interface=ib0 ssh_config=~/c\n"
        "# plumbline[a]: address=10.0.0.1 shared=no\n"
        "# plumbline is what reads this\n"
    )
    hostfile = load_hostfile(file)
    assert hostfile.nodes == (
        Node("a", 1, "/data", sys.executable, False, "10.0.0.1", "ib0", "~/c"),
        Node("b", 2, "/my data", "~/venv/bin/python", True, None, "ib0", "~/c"),
    )
    assert (hostfile.text, hostfile.path) == (file.read_text(), file)
    assert parse_hostfile(hostfile.text, "copy").nodes == hostfile.nodes


def test_localhost_is_this_machine_with_this_python() -> None:
    (node,) = local_hostfile().nodes
    assert node.is_local and (node.slots, node.workdir, node.python) == (1, None, sys.executable)
    (node,) = parse_hostfile("# plumbline: python=/opt/python workdir=~/runs\nlocalhost slots=4", "hosts").nodes
    assert (node.workdir, node.python) == ("~/runs", sys.executable)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a slots=1\n\na slots=2", ":3", "hosts:1"),
        ("a slots=0", ":1", "between 1"),
        ("a slots=8x", ":1", "worker-1 slots=8"),
        ("a slots=8 max_slots=9", ":1", "# plumbline[a]:"),
        ("a slots=8 workdir=/data", ":1", "# plumbline[a]:"),
        ("-oProxyCommand=x slots=1", ":1", "no host name"),
        ("$(x) slots=1", ":1", "no host name"),
        ("me@a slots=1", ":1", "~/.ssh/config"),
        ("# only this\n", "", "names no node"),
        ("# plumbline: workdr=/data\na slots=1", ":1", "Did you mean workdir?"),
        ("# plumbline: workdir=data\na slots=1", ":1", "absolute"),
        ("# plumbline: workdir =/data\na slots=1", ":1", "no value"),
        ("# plumbline: workdir='/data\na slots=1", ":1", "quotation"),
        ("# plumbline:\na slots=1", ":1", "The keys are"),
        ("# plumbline workdir=/data\na slots=1", ":1", "# plumbline: KEY=VALUE"),
        ("# plumline: workdir=/data\na slots=1", ":1", "# plumbline: KEY=VALUE"),
        ("# plumbline[a: workdir=/data\na slots=1", ":1", "# plumbline: KEY=VALUE"),
        ("# plumbline: shared=maybe\na slots=1", ":1", "yes nor no"),
        ("# plumbline: interface=eth0;x\na slots=1", ":1", "network interface"),
        ("# plumbline: address=-x\na slots=1", ":1", "no host name"),
        ("# plumbline: shared=yes\na slots=1\n# plumbline: shared=no", ":3", "hosts:1"),
        ("worker-1 slots=1\n# plumbline[worker-l]: shared=yes", ":2", "Did you mean worker-1?"),
        ("# plumbline[localhost]: python=/x\nlocalhost slots=1", ":1", "localhost runs"),
        ("a slots=1\nlocalhost slots=1", ":2", "address="),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, line: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_hostfile(text, "hosts")
    assert caught.value.where == f"hosts{line}" and says in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("absent", "binary", "."):
        with pytest.raises(InvalidInput) as caught:
            load_hostfile(tmp_path / name)
        assert caught.value.where == str(tmp_path / name)


def test_the_examples_are_valid() -> None:
    assert [node.is_local for node in load_hostfile(EXAMPLES / "localhost").nodes] == [True]
    nodes = load_hostfile(EXAMPLES / "eight-nodes.example").nodes
    assert [node.slots for node in nodes] == [8] * 8 and [node.interface for node in nodes] == ["ib0"] * 7 + ["eth1"]
