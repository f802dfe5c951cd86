"""The actions of the cluster: its slots, whether its nodes are ready, which of them take nothing new."""

from __future__ import annotations

from tui.actions.action import Action, Context, always


def _on_run(context: Context) -> str | None:
    return None if context.experiment else "No run of this database has the slot under the cursor."


CLUSTER: tuple[Action, ...] = (
    Action(
        "cluster-open",
        "enter",
        "open the run that has the slot under the cursor",
        "screen.open",
        _on_run,
        "cluster",
        cli="show {id}",
        short="open run",
    ),
    Action(
        "cluster-hosts",
        "h",
        "choose a hostfile, or the nodes of all runs",
        "screen.choose_hosts",
        always,
        "cluster",
        short="hostfile",
        cli="cluster status --hostfile H",
    ),
    Action(
        "cluster-check",
        "p",
        "preflight: whether runs can start on these nodes",
        "screen.check",
        always,
        "cluster",
        short="preflight",
        cli="cluster check --hostfile H",
    ),
    Action(
        "drain",
        "D",
        "drain the node: nothing new begins there; or let runs begin again",
        "screen.drain",
        always,
        "cluster",
        danger=True,
        short="drain",
        cli="cluster drain NODE --hostfile H",
    ),
)
CLUSTER_LATER: tuple[Action, ...] = (
    Action(
        "cluster-pane",
        "tab",
        "the next pane: slots, preflight, details",
        "screen.pane",
        always,
        "cluster",
        short="pane",
    ),
    Action("cluster-back", "escape", "give up the preflight; go back", "screen.back", always, "cluster"),
)
