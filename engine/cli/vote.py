"""`engine vote`: which of two answers to one prompt a person finds better, and how the votes on two runs stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import print_json, say, table
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from engine.report.comparing.saying import Pair, Script
    from engine.store.database import Store
    from engine.store.votes import Side

_SHOWN = 60  # characters of a text in a table


@click.command()
@click.argument("left", metavar="EXP")
@click.argument("right", metavar="EXP")
@click.option("--at", "steps", type=int, nargs=2, metavar="STEP STEP", help="Of both; else the last they answered at.")
@click.option("--prompt", metavar="TEXT", help="That both answered, or a part that no other one has.")
@click.option("--better", type=click.Choice(["left", "right", "tie"]), help="Whose answer to it is the better one.")
@click.option("--blind", is_flag=True, help="The vote was cast without knowing who wrote what.")
@click.option("--remove", is_flag=True, help="Take the vote on the prompt back.")
@global_options
@pass_settings
def vote(
    settings: Settings,
    left: str,
    right: str,
    *,
    steps: tuple[int, int] | None,
    prompt: str | None,
    better: str | None,
    blind: bool,
    remove: bool,
) -> None:
    """Vote for an answer of the first (left) or second (right) experiment, and print how the votes on both stand.

    Each prompt has one vote; a later one takes its place. Without --prompt nothing is changed.
    """
    from engine.store import votes

    if (prompt is None) != (better is None and not remove) or (better is not None and remove):
        raise click.UsageError("a vote needs --prompt, and --better or --remove.")
    store = settings.open_store()
    one, other, pairs = _pairs(store, left, right, steps)
    if prompt is not None:
        chosen = _named(prompt, pairs)
        key = chosen.left.prompt
        if remove:
            votes.take_back(store, key, one, other)
            say(settings, "The vote is taken back.")
        else:
            votes.vote(store, key, one, other, {"left": one, "right": other}.get(str(better)), blind=blind)
    _print(settings, store, one, other, pairs)


def _pairs(store: Store, left: str, right: str, steps: tuple[int, int] | None) -> tuple[Side, Side, Sequence[Pair]]:
    """Return the two sides, and what both answered. Raises NotFound where one has no answers."""
    from engine.report.comparing.answers import script
    from engine.report.comparing.saying import pairs
    from engine.store import experiments

    sides, said = [], []
    for number, text in enumerate((left, right)):
        experiment = experiments.get(store, experiments.resolve(store, text))
        known: Script = script(store, experiment)
        step = steps[number] if steps is not None else max(known, default=None)
        if step is None or step not in known:
            told = f"no answers at step {step}" if known else "no answers here"
            hint = f"There are some at {', '.join(map(str, known))}." if known else None
            raise NotFound(f"{experiment.id} has {told}.", hint=hint)
        sides.append((experiment.id, step))
        said.append(known[step])
    if sides[0] == sides[1]:
        raise InvalidInput("both sides are the same answers.", hint="--at STEP STEP names two checkpoints of one run.")
    return sides[0], sides[1], pairs(*said)


def _named(text: str, pairs: Sequence[Pair]) -> Pair:
    """Return the pair whose prompt a text names. Raises NotFound for none, InvalidInput for several."""
    exact = [pair for pair in pairs if text in (pair.left.prompt, pair.left.question, pair.left.key)]
    found = exact or [pair for pair in pairs if text.lower() in pair.left.prompt.lower()]
    if not found:
        raise NotFound("they have no such prompt in common.", where=text[:_SHOWN])
    if len({pair.left.prompt for pair in found}) > 1:
        raise InvalidInput(f"{len(found)} prompts have this in them.", hint="Name more of it.", where=text[:_SHOWN])
    return found[0]


def _print(settings: Settings, store: Store, one: Side, other: Side, pairs: Sequence[Pair]) -> None:
    from engine.store import votes

    tally, given = votes.tally(store, one, other), votes.votes(store, one, other)
    words = {one: "left", other: "right", None: "tie"}
    voted = [(pair, words[given[key]]) for pair in pairs if (key := votes.digest(pair.left.prompt)) in given]
    if settings.json:
        print_json(
            {
                "left": _side(one),
                "right": _side(other),
                "prompts": len(pairs),
                "votes": {"left": tally.one, "tie": tally.tie, "right": tally.other, "blind": tally.blind},
                "voted": [{"prompt": pair.left.prompt, "better": better} for pair, better in voted],
            }
        )
        return
    header = ["SIDE", "EXP", "STEP", "VOTES"]
    rows = [
        ["left", one[0], str(one[1]), str(tally.one)],
        ["right", other[0], str(other[1]), str(tally.other)],
        ["tie", "", "", str(tally.tie)],
    ]
    click.echo(table(header, rows, right=(2, 3)))
    say(settings, f"{tally.votes} of {len(pairs)} prompts have a vote, {tally.blind} of them cast blind.")
    if voted:
        texts = [((pair.left.question, pair.left.response, pair.right.response), better) for pair, better in voted]
        shown = [[*map(_short, text), better] for text, better in texts]
        click.echo("\n" + table(["PROMPT", "LEFT", "RIGHT", "BETTER"], shown))


def _side(side: Side) -> dict[str, Any]:
    return {"id": side[0], "step": side[1]}


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN else f"{flat[: _SHOWN - 1]}…"
