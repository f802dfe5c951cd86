"""The board of two ranks, each a process: every turn comes to one of them, and both wait for each other."""

from __future__ import annotations

import json
import multiprocessing
import socket
from pathlib import Path

RANKS, TURNS = 2, 40


def rank(number: int, port: int, folder: Path) -> None:
    """Take turns, post them, and wait for the other."""
    import torch.distributed as dist

    from engine.job.board import Board

    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=number, world_size=RANKS)
    board = Board("test")
    if number == 0:
        board.post("begin", "go")
    assert board.await_note("begin") == "go"
    taken = []
    for turn in board.turns(TURNS):
        taken.append(turn)
        board.add("done")
    looked: list[int] = []
    board.await_all(RANKS, lambda: looked.append(board.read("done")))
    (folder / f"{number}.json").write_text(json.dumps([taken, looked[-1]]))
    dist.barrier()  # as at the end of a job: rank 0 holds the board, and leaves last
    dist.destroy_process_group()


def test_each_turn_comes_to_one_rank_and_the_last_look_sees_all(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = multiprocessing.get_context("spawn")
    ranks = [started.Process(target=rank, args=(number, port, tmp_path)) for number in range(RANKS)]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join(100)
    assert [each.exitcode for each in ranks] == [0] * RANKS
    told = [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(RANKS)]
    assert sorted(turn for taken, _ in told for turn in taken) == list(range(TURNS))
    assert [last for _, last in told] == [TURNS] * RANKS
