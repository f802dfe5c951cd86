"""How fast gradients are summed over all ranks: a program of its own, sent to nodes as text, that needs torch alone.

It reads MASTER_ADDR and MASTER_PORT, and takes as arguments the number of this node, of nodes, of ranks on each, of
bytes to sum, and of seconds to go on. Rank 0 prints one line of JSON at the end. The bus bandwidth is as NCCL's tests
define it: bytes a second, times 2(n - 1)/n, so that it compares with what one link bears whatever the number of ranks.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
import traceback
from datetime import timedelta

WARM_UP = 2
MOST_TIMES = 200
MEET_SECONDS = 60
_PR_SET_PDEATHSIG = 1


def measure(rank: int, local_rank: int, world: int, size: int, seconds: float) -> None:
    """Sum `size` bytes over all ranks, again and again; rank 0 prints the median."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=MEET_SECONDS),
        device_id=device if on_gpu else None,
    )
    values = torch.ones(max(1, size // 4), dtype=torch.float32, device=device)
    meeting = torch.zeros(1, device=device)

    def once() -> float:
        """Return the seconds that one sum took the slowest rank."""
        dist.all_reduce(meeting)
        if on_gpu:
            torch.cuda.synchronize()
        began = time.perf_counter()
        dist.all_reduce(values)
        if on_gpu:
            torch.cuda.synchronize()
        took = torch.tensor([time.perf_counter() - began], dtype=torch.float64, device=device)
        dist.all_reduce(took, op=dist.ReduceOp.MAX)
        values.fill_(1.0)
        return float(took)

    estimate = max(1e-6, [once() for _ in range(WARM_UP)][-1])
    times = sorted(once() for _ in range(max(3, min(MOST_TIMES, int(seconds / estimate)))))
    median, summed = times[len(times) // 2], 4 * values.numel()
    if rank == 0:
        bandwidth = summed / median * 2 * (world - 1) / world
        found = {"backend": dist.get_backend(), "ranks": world, "bytes": summed, "seconds": median}
        print(json.dumps({**found, "bus_bandwidth": bandwidth}), flush=True)
    dist.all_reduce(meeting)


def main() -> None:
    """Start the ranks of this node; exit with 1 if one of them fails."""
    node, nodes, local, size = map(int, sys.argv[1:5])
    parent, children = os.getpid(), []
    for local_rank in range(local):
        pid = os.fork()
        if pid:
            children.append(pid)
            continue
        code = 1
        try:
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() == parent:
                measure(node * local + local_rank, local_rank, nodes * local, size, float(sys.argv[5]))
                code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)  # torch takes a second and more to leave in order
    failed = False
    while children:
        pid, status = os.waitpid(-1, 0)
        children.remove(pid)
        if status != 0 and not failed:
            failed = True
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
