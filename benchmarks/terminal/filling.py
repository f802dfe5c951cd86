"""A database as it is after months: 1,000 experiments, 10 million points, and eight runs that go on when told to."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from sqlalchemy import Connection

from engine.spec.loading import parse_spec
from engine.store import experiments
from engine.store.database import Store

EXPERIMENTS, POINTS = 1_000, 10_000_000
LIVE, LIVE_METRICS, LIVE_STEPS = 8, 40, 500
LONG_STEPS = 100_000
LONG_METRICS = ("loss", "lr", "grad_norm", "tokens_per_second", "seconds_per_step", "memory_bytes")
SHORT_METRICS = (*LONG_METRICS, "eval_loss", "tokens", "epoch", "mfu")
_SHORT = EXPERIMENTS - LIVE - 1
_SHORT_STEPS = -(-(POINTS - LIVE * LIVE_METRICS * LIVE_STEPS - len(LONG_METRICS) * LONG_STEPS) // _SHORT // 10)
_PPO_METRICS = (
    *("score", "kl", "hallucinated", "correct", "abstained", "entropy", "response_length", "value_loss"),
    *("explained_variance", "clip_fraction", "tokens_per_second", "kl_coef", "policy_loss", "eos_rate"),
    *("repetition_rate", "grad_norm", "value_grad_norm", "lr", "mfu", "seconds_per_step", "generate_seconds"),
    *("score_seconds", "train_seconds", "memory_bytes"),
)
STREAMED = (*_PPO_METRICS, *(f"terms/part_{number}" for number in range(LIVE_METRICS - len(_PPO_METRICS))))
_SFT = (
    "kind: sft\nname: {name}\nmodel: {{architecture: {{layers: 2}}, tokenizer: {{}}}}\ndata: {{train: facts.jsonl}}\n"
)
_PPO = "kind: ppo\nname: {name}\nmodel: {{path: /models/sft}}\nrewards: {{rule: {{kind: exact_match}}}}\n"
_PPO_DATA = "data: {train: /data/prompts.jsonl}\n"
# A smooth course with noise, by arithmetic alone: SQLite computes it faster than it could be handed over.
_VALUE = "0.6 / (1 + step * 0.003) + ((step * 7919 + id * 104729) % 1000) * 0.00004"


@dataclass(frozen=True, slots=True)
class Filled:
    """What stands in a database that was filled: ids."""

    long: str  # six series of 100,000 points
    live: tuple[str, ...]  # the newest ones, forty series each


def fill(store: Store) -> Filled:
    """Write all experiments, each as if it had ended. The facts are those that `engine.store.facts` would leave."""
    now = time.time()
    with store.write(durable=False) as connection:
        for number in range(_SHORT):
            ended = now - 86_400 - 2_000 * (_SHORT - number)
            identity = _add(connection, _SFT.format(name=f"run-{number}"), ended, _SHORT_STEPS)
            _series(connection, identity, SHORT_METRICS)
        long = _add(connection, _SFT.format(name="long"), now - 80_000, LONG_STEPS)
        _series(connection, long, LONG_METRICS)
        live = []
        for number in range(LIVE):
            spec = _PPO.format(name=f"live-{number}") + _PPO_DATA
            live.append(_add(connection, spec, now - 7_200 - 60 * (LIVE - number), LIVE_STEPS))
            _series(connection, live[-1], STREAMED)
    for first in range(0, EXPERIMENTS, 100):
        _points(store, first)
    return Filled(long, tuple(live))


def go_on(store: Store, live: tuple[str, ...]) -> None:
    """Let the runs go on that had ended, so that they can stream."""
    with store.write() as connection:
        for identity in live:
            connection.exec_driver_sql(
                "UPDATE experiments SET state = 'running', ended_at = NULL, exit_code = NULL, total_steps = 100000,"
                " heard_at = ? WHERE id = ?",
                (time.time(), identity),
            )
            connection.exec_driver_sql(
                "UPDATE attempts SET state = 'running', ended_at = NULL, exit_code = NULL WHERE experiment_id = ?",
                (identity,),
            )


def _add(connection: Connection, spec: str, ended: float, steps: int) -> str:
    identity = experiments.add(connection, parse_spec(spec), tags=("many",))
    began = ended - steps
    connection.exec_driver_sql(
        "UPDATE experiments SET state = 'succeeded', exit_code = 0, step = ?, total_steps = ?, created_at = ?,"
        " started_at = ?, ended_at = ?, heard_at = ? WHERE id = ?",
        (steps, steps, began - 10, began, ended, ended, identity),
    )
    seat = [{"host": "node-0", "index": 0, "slots": 1, "first_rank": 0}]
    connection.exec_driver_sql(
        "INSERT INTO attempts (experiment_id, number, state, exit_code, run_dir, placement, resumed_step, created_at,"
        " started_at, ended_at) VALUES (?, 1, 'succeeded', 0, ?, ?, 0, ?, ?, ?)",
        (identity, f"/runs/{identity}", json.dumps(seat), began - 10, began, ended),
    )
    return identity


def _series(connection: Connection, identity: str, names: tuple[str, ...]) -> None:
    rows = [(identity, name) for name in names]
    connection.exec_driver_sql("INSERT INTO series (experiment_id, name) VALUES (?, ?)", rows)


def _points(store: Store, first: int) -> None:
    """Write the points of the series of a hundred experiments, and what their last ones are."""
    chosen = (
        "WITH chosen AS (SELECT id, step AS steps, started_at FROM experiments ORDER BY rowid LIMIT 100 OFFSET ?),"
        " mine AS (SELECT series.id, chosen.steps, chosen.started_at FROM series"
        " JOIN chosen ON chosen.id = series.experiment_id)"
    )
    with store.write(durable=False) as connection:
        connection.exec_driver_sql("CREATE TEMP TABLE IF NOT EXISTS counted (step INTEGER PRIMARY KEY)")
        connection.exec_driver_sql(
            "INSERT OR IGNORE INTO counted WITH RECURSIVE next(step) AS (SELECT 1 UNION ALL SELECT step + 1 FROM next"
            " WHERE step < ?) SELECT step FROM next WHERE NOT EXISTS (SELECT 1 FROM counted)",
            (LONG_STEPS,),
        )
        connection.exec_driver_sql(
            f"{chosen} INSERT INTO points SELECT mine.id, 1, step, started_at + step, {_VALUE}"
            " FROM mine CROSS JOIN counted ON step <= mine.steps",
            (first,),
        )
        connection.exec_driver_sql(
            f"{chosen} UPDATE series SET (last_step, last_time, last_value) ="
            " (SELECT step, time, value FROM points WHERE series_id = series.id AND attempt = 1"
            " ORDER BY step DESC LIMIT 1) WHERE id IN (SELECT id FROM mine)",
            (first,),
        )
