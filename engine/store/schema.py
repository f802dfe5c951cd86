"""The tables. Times are seconds since the epoch, UTC; JSON columns hold small documents."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

experiments = Table(
    "experiments",
    metadata,
    Column("id", String, primary_key=True),  # "sft-0041": never reused
    Column("name", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("spec", Text, nullable=False),  # canonical YAML
    Column("spec_hash", String, nullable=False),
    Column("spec_values", JSON, nullable=False, server_default="{}"),  # {dotted key: value}: what filters ask for
    Column("parent_id", String, ForeignKey("experiments.id", ondelete="SET NULL")),
    Column("hostfile", Text),  # where it was read from; null: this machine alone
    Column("hostfile_text", Text),  # what stood in it at launch
    Column("desired", String, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", Text),  # why it waits, failed or is lost; one sentence
    Column("exit_code", Integer),  # ExitCode of the outcome, once it has ended
    Column("step", Integer, nullable=False, server_default="0"),
    Column("total_steps", Integer),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("archived_at", Float),
    Column("heard_at", Float),  # when a fact or heartbeat last came from its nodes
    Column("note", Text),
    Column("queued_at", Float),  # its place in the line; null: created_at
    Column("priority", Integer, nullable=False, server_default="0"),  # higher first
    Column("not_before", Float),  # a queued one waits until then, after a fault
    Column("faults", Integer, nullable=False, server_default="0"),  # of nodes and links, since it last got on
    Column("forced", Integer, nullable=False, server_default="0"),  # 1: begins also where its plan says it cannot run
    Column("code", String),  # SHA-256 of the snapshot of our code that runs it; null: what the nodes have
    Column("pinned_at", Float),  # stands first in the list since then
    Index("experiments_by_state", "state"),
    Index("experiments_by_name", "name"),
)

counters = Table(
    "counters",
    metadata,
    Column("kind", String, primary_key=True),
    Column("last_number", Integer, nullable=False),
)

tags = Table(
    "tags",
    metadata,
    Column("experiment_id", String, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("tag", String, primary_key=True),
)

dependencies = Table(
    "dependencies",
    metadata,
    Column("experiment_id", String, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("after_id", String, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
)

attempts = Table(
    "attempts",
    metadata,
    Column("experiment_id", String, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),  # 1, 2, …
    Column("state", String, nullable=False),
    Column("reason", Text),
    Column("exit_code", Integer),
    Column("run_dir", Text, nullable=False),  # on the nodes
    Column("placement", JSON, nullable=False),  # [{host, index, slots, first_rank}]
    Column("resumed_step", Integer),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
)

series = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("experiment_id", String, ForeignKey("experiments.id", ondelete="CASCADE"), nullable=False),
    Column("name", String, nullable=False),
    Column("last_step", Integer),
    Column("last_value", Float),  # null with last_time set: not a finite number
    Column("last_time", Float),
    UniqueConstraint("experiment_id", "name"),
)

points = Table(
    "points",
    metadata,
    Column("series_id", Integer, ForeignKey("series.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("value", Float),  # null: not a number; infinities are stored as such
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("experiment_id", String, ForeignKey("experiments.id", ondelete="CASCADE"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("time", Float, nullable=False),
    Column("step", Integer),
    Column("level", String, nullable=False),
    Column("event", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", JSON, nullable=False),
    Index("events_by_experiment", "experiment_id", "id"),
    Index("events_by_time", "experiment_id", "time"),  # finds a fact that is in already
)

samples = Table(
    "samples",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("experiment_id", String, ForeignKey("experiments.id", ondelete="CASCADE"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("time", Float, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("response", Text, nullable=False),
    Column("reference", Text),
    Column("scores", JSON, nullable=False),
    Index("samples_by_experiment", "experiment_id", "step"),
)

cursors = Table(
    "cursors",
    metadata,
    Column("experiment_id", String, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("file", String, primary_key=True),  # metrics.jsonl, events.jsonl, samples.jsonl
    Column("offset", Integer, nullable=False),  # bytes of the file whose rows are in
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("experiment_id", String, ForeignKey("experiments.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String, nullable=False),  # model, reward_model, policy, index, …
    Column("path", Text, nullable=False),  # on the nodes
    Column("sha256", String),
    Column("step", Integer),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("experiment_id", "kind", "path"),
)

inputs = Table(
    "inputs",
    metadata,
    Column("experiment_id", String, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("path", Text, primary_key=True),  # on the nodes, as it stands in the spec
    Column("reference", Text, nullable=False),  # what stood there before it was looked up
    Column("parent_id", String, nullable=False),  # the experiment that made it; stays when that one is deleted
    Column("kind", String, nullable=False),  # of the artifact, or "run"
    Column("sha256", String),  # of the artifact, when it was looked up
    Column("step", Integer),  # after which it was made
    Index("inputs_by_parent", "parent_id"),
)

contacts = Table(
    "contacts",
    metadata,
    Column("experiment_id", String, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("node", Integer, primary_key=True),  # index in the placement
    Column("host", String, nullable=False),
    Column("heard_at", Float),  # last frame from this node
    Column("message", Text),  # why it is silent; null while all is well
    Column("pulse", JSON),  # how its ranks stood when they were last heard: the agent's heartbeat
    Column("cleared", Integer, nullable=False, server_default="1"),  # 0: something of an ended attempt may live there
)

nodes = Table(
    "nodes",
    metadata,
    Column("key", String, primary_key=True),  # names a machine across hostfiles
    Column("host", String, nullable=False),
    Column("drained_at", Float),  # nothing new begins there since then
    Column("heard_at", Float),
    Column("message", Text),  # why it is silent; null while all is well
    Column("standing", JSON),  # its load, memory, GPUs and leases when it was last heard
)

node_samples = Table(
    "node_samples",
    metadata,
    Column("key", String, primary_key=True),
    Column("time", Float, primary_key=True),
    Column("standing", JSON, nullable=False),
    sqlite_with_rowid=False,
)

journal = Table(
    "journal",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("what", Text, nullable=False),  # "archived 3 runs"
    Column("changes", JSON, nullable=False),  # [{id, field, before, after}]
    Column("undone", Integer, nullable=False, server_default="0"),  # 1: can be done again
)

views = Table(
    "views",
    metadata,
    Column("name", String, primary_key=True),
    Column("view", JSON, nullable=False),  # {filter, group, sort, columns}
    Column("saved_at", Float, nullable=False),
)

votes = Table(
    "votes",
    metadata,
    # A side is an experiment at a step; the lesser side stands first.
    Column("first_id", String, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("first_step", Integer, primary_key=True),
    Column("second_id", String, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("second_step", Integer, primary_key=True),
    Column("prompt", String, primary_key=True),  # SHA-256 of what both answered, in hex
    Column("winner", String, nullable=False),  # first, second or tie
    Column("blind", Integer, nullable=False),  # 1: cast without knowing who wrote what
    Column("voted_at", Float, nullable=False),
    sqlite_with_rowid=False,
)

index_measures = Table(
    "index_measures",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("experiment_id", String, ForeignKey("experiments.id", ondelete="CASCADE")),  # null: none has made the index
    Column("path", Text, nullable=False),  # of the index, on the machine that measured it
    Column("manifest_sha256", String, nullable=False),  # of its manifest then: an update changes it
    Column("questions", Text, nullable=False),  # where they were read from
    Column("questions_sha256", String, nullable=False),  # of that file, and of judgements that stand apart
    Column("count", Integer, nullable=False),  # of the questions that have a relevant document
    Column("mode", String, nullable=False),  # dense, lexical or hybrid
    Column("fusion", String),  # null: no two rankings were fused
    Column("settings", JSON, nullable=False),  # {qrels, embedder, seed}
    Column("figures", JSON, nullable=False),  # {measure: [value, low, high]}, 95 % intervals; null: undefined
    Column("seconds", Float, nullable=False),  # of all searches, in batches
    Column("latency_p50", Float, nullable=False),  # seconds of one question alone
    Column("latency_p99", Float, nullable=False),
    Column("measured_at", Float, nullable=False),
    Index("index_measures_by_experiment", "experiment_id", "measured_at"),
    Index("index_measures_by_path", "path", "measured_at"),
)
