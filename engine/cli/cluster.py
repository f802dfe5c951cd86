"""`engine cluster`: the nodes of a hostfile, looked at, set up, measured and drained."""

from __future__ import annotations

import difflib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.output import print_json, say
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import ExitCode, InvalidInput, NotFound

if TYPE_CHECKING:
    from engine.cluster.hostfile import Hostfile, Node

_hostfile = click.option(
    "--hostfile", type=click.Path(path_type=Path), required=True, help="Which nodes; see docs/hostfiles.md."
)


@click.group()
def cluster() -> None:
    """Look at the nodes of a hostfile, install the engine there, measure the network between them, drain them."""


@cluster.command()
@_hostfile
@click.option("--spec", type=click.Path(path_type=Path), help="A spec, whose inputs are compared as well.")
@global_options
@pass_settings
def check(settings: Settings, *, hostfile: Path, spec: Path | None) -> int:
    """Preflight: whether runs can start there, and if not, why and how to mend it."""
    from engine.cli.cluster_report import check_document, check_page
    from engine.cluster import checking
    from engine.cluster.preflight import Severity, examine

    nodes = _load(hostfile).nodes
    paths = _inputs(spec) if spec is not None else []
    began = time.monotonic()

    def progress(host: str, what: str) -> None:
        if sys.stderr.isatty():
            say(settings, f"{host} {what}")

    here = checking.here(str(hostfile), paths)
    facts = checking.gather(nodes, paths=paths, progress=progress)
    findings = examine(facts, here)
    failed = any(finding.severity is Severity.FAIL for finding in findings)
    if settings.json:
        print_json(check_document(hostfile, facts, findings, time.monotonic() - began))
    else:
        click.echo(check_page(facts, findings))
    return ExitCode.REFUSED if failed else ExitCode.DONE


def _load(path: Path) -> Hostfile:
    from engine.cluster.hostfile import load_hostfile

    hostfile = load_hostfile(path)
    if hostfile.slurm is not None:
        raise InvalidInput("names no nodes: Slurm chooses them.", hint="See sinfo on its login node.", where=str(path))
    return hostfile


def _inputs(file: Path) -> list[str]:
    """Return the paths of a spec's inputs; references to what experiments made are left out."""
    from engine.spec.loading import load_spec
    from engine.spec.resolve import input_paths, with_absolute_paths

    spec = with_absolute_paths(load_spec(file), file.resolve().parent)
    return [str(path) for path in input_paths(spec)]


@cluster.command()
@_hostfile
@global_options
@pass_settings
def status(settings: Settings, *, hostfile: Path) -> int:
    """Who holds which slot, and how busy each node is."""
    from engine.cli.cluster_report import status_document, status_page
    from engine.cluster.standing import look

    nodes = _load(hostfile).nodes
    found = look(nodes)
    drained = _drained(settings, nodes)
    if settings.json:
        print_json(status_document(hostfile, found, drained))
    else:
        click.echo(status_page(found, drained or frozenset()))
    return ExitCode.UNREACHABLE if any(each.error is not None for each in found) else ExitCode.DONE


def _drained(settings: Settings, nodes: Sequence[Node]) -> frozenset[str] | None:
    """Return the hosts on which nothing new begins; null where there is no database to say so."""
    if not settings.database.exists():
        return None
    from engine.dispatch.placement import node_key
    from engine.store.nodes import drained

    keys = drained(settings.open_store())
    return frozenset(node.host for node in nodes if node_key(node) in keys)


@cluster.command()
@click.argument("hosts", metavar="NODE…", nargs=-1, required=True)
@_hostfile
@global_options
@pass_settings
def drain(settings: Settings, *, hosts: tuple[str, ...], hostfile: Path) -> None:
    """Let nothing new begin on nodes; what runs there goes on."""
    _set_drained(settings, hostfile, hosts, drained=True)


@cluster.command()
@click.argument("hosts", metavar="NODE…", nargs=-1, required=True)
@_hostfile
@global_options
@pass_settings
def undrain(settings: Settings, *, hosts: tuple[str, ...], hostfile: Path) -> None:
    """Let runs begin again on nodes that were drained."""
    _set_drained(settings, hostfile, hosts, drained=False)


def _set_drained(settings: Settings, hostfile: Path, hosts: Sequence[str], *, drained: bool) -> None:
    from engine.dispatch.lifecycle import ensure_running
    from engine.dispatch.placement import node_key
    from engine.store import experiments
    from engine.store import nodes as store_nodes
    from engine.telemetry.states import State

    known = {node.host: node for node in _load(hostfile).nodes}
    # All must be known before any is changed.
    chosen = [_node(known, host, hostfile) for host in dict.fromkeys(hosts)]
    store = settings.open_store(create=True)
    before = store_nodes.drained(store)
    told = []
    for node in chosen:
        changed = (node_key(node) in before) is not drained
        if changed:
            store_nodes.drain(store, node_key(node), node.host, drained=drained)
        told.append({"host": node.host, "drained": drained, "changed": changed})
    if any(each.state is State.QUEUED for each in experiments.unfinished(store)):
        ensure_running(settings.database)
    if settings.json:
        print_json({"hostfile": str(hostfile), "nodes": told})
        return
    now = "is drained: nothing new begins there" if drained else "is not drained: runs begin there"
    for each in told:
        click.echo(f"{each['host']} {now}{'' if each['changed'] else ', as before'}.")


def _node(known: Mapping[str, Node], host: str, hostfile: Path) -> Node:
    if host not in known:
        near = difflib.get_close_matches(host, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"It has {', '.join(known)}."
        raise NotFound(f"there is no node {host}.", hint=hint, where=str(hostfile))
    return known[host]


@cluster.command()
@_hostfile
@click.option("--seconds", default=1.0, show_default=True, help="For the throughput of each pair, one way.")
@click.option("--no-allreduce", is_flag=True, help="Leave out the sums over all ranks, which start torch everywhere.")
@global_options
@pass_settings
def bench(settings: Settings, *, hostfile: Path, seconds: float, no_allreduce: bool) -> int:
    """Measure latency and throughput of all pairs of nodes and all-reduce bandwidth; name what is slow."""
    from engine.cli.cluster_report import bench_document, bench_page
    from engine.cluster.bench import measure

    nodes = _load(hostfile).nodes
    if len(nodes) < 2:
        raise InvalidInput("has one node, and so no network.", where=str(hostfile))
    measured = measure(nodes, seconds=seconds, allreduce=not no_allreduce, say=lambda what: say(settings, what))
    if settings.json:
        print_json(bench_document(hostfile, measured))
    else:
        click.echo(bench_page(measured))
    return ExitCode.UNREACHABLE if measured.unreachable else ExitCode.DONE


@cluster.command()
@_hostfile
@click.option("--python", help="Python 3.11 or newer there, to make the environments with.")
@click.option(
    "--extra", "extras", multiple=True, type=click.Choice(["train", "rag"]), help="What to install (default: train)."
)
@click.option("--wheel", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Install this one.")
@click.option("--no-deps", is_flag=True, help="Install plumbline alone.")
@click.option("--find-links", metavar="PATH|URL", help="Where pip finds wheels, as seen from the nodes.")
@click.option("--index-url", metavar="URL", help="The package index that pip asks.")
@click.option("--system-site-packages", is_flag=True, help="Let the environments see what the machine has.")
@global_options
@pass_settings
def setup(
    settings: Settings,
    *,
    hostfile: Path,
    python: str | None,
    extras: tuple[str, ...],
    wheel: Path | None,
    no_deps: bool,
    find_links: str | None,
    index_url: str | None,
    system_site_packages: bool,
) -> int:
    """Install this engine, or bring it up to date, in WORKDIR/venv on each node."""
    from engine.cli.cluster_report import setup_document, setup_page
    from engine.cli.node_lines import node_lines
    from engine.cluster.setup import Wishes, install
    from engine.cluster.wheel import build_wheel, constraints_file

    nodes = _load(hostfile).nodes
    wishes = Wishes(
        extras=extras or ("train",),
        python=python,
        dependencies=not no_deps,
        find_links=find_links,
        index_url=index_url,
        system_site_packages=system_site_packages,
    )
    with tempfile.TemporaryDirectory(prefix="plumbline-setup-") as folder:
        scratch = Path(folder)
        if wheel is None:
            say(settings, "making a wheel of this source")
            wheel = build_wheel(scratch / "wheel")
        with node_lines(settings, [node.host for node in nodes]) as progress:
            outcomes = install(
                nodes, wheel.absolute(), constraints_file(), wishes, scratch=scratch / "objects", progress=progress
            )
    if settings.json:
        print_json(setup_document(hostfile, outcomes))
    else:
        click.echo(setup_page(outcomes))
    return max((each.error.exit_code for each in outcomes if each.error is not None), default=ExitCode.DONE)
