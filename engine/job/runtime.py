"""The ranks of a run: how they meet, agree, fail and leave."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d

from engine.errors import PlumblineError, RunFailed, Unforeseen, Unreachable
from engine.job.devices import nccl_failure, take_gpu
from engine.job.folders import ALONE, Folders


@dataclass(frozen=True, slots=True)
class Runtime:
    """This rank among the others, with the collective operations that the loop needs."""

    rank: int
    local_rank: int
    world_size: int
    device: torch.device
    folders: Folders = ALONE

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes what exists once."""
        return self.rank == 0

    @property
    def is_folder_main(self) -> bool:
        """Whether this is the lowest rank that sees its run directory, which writes what each of these has."""
        return self.folders.mains[self.rank] == self.rank

    def sum(self, *values: float) -> list[float]:
        """Return each value summed over the ranks, in float64."""
        totals = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(totals)
        return [float(total) for total in totals.tolist()]

    def from_main(self, value: Any) -> Any:
        """Return rank 0's value on every rank."""
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def from_all(self, value: Any) -> list[Any]:
        """Return every rank's value, by rank, on every rank."""
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def tensors_from_main(self, tensors: Mapping[str, Tensor], *, keeps: bool) -> dict[str, Tensor]:
        """Return rank 0's tensors, on the CPU, on each rank that `keeps` them; they travel one at a time."""
        kept: dict[str, Tensor] = {}
        for name, shape, kind in self.from_main([(name, each.shape, each.dtype) for name, each in tensors.items()]):
            own = tensors[name] if self.is_main else torch.empty(shape, dtype=kind)
            travelling = own.to(self.device).contiguous()
            dist.broadcast(travelling, src=0)
            if keeps:
                kept[name] = travelling.cpu()
        return kept

    def bytes_from_main(self, content: bytes | None, size: int) -> bytes:
        """Return rank 0's `size` bytes on every rank."""
        own = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content is not None else torch.empty(0)
        travelling = own.to(self.device) if self.is_main else torch.empty(size, dtype=torch.uint8, device=self.device)
        dist.broadcast(travelling, src=0)
        return travelling.cpu().numpy().tobytes()

    def to_main(self, tensor: Tensor | None, source: int, shape: Sequence[int]) -> Tensor | None:
        """Return on rank 0 the float32 tensor of another rank, `source`; None elsewhere. Other ranks do nothing."""
        if self.rank == source:
            assert tensor is not None
            dist.send(tensor.to(self.device).contiguous(), dst=0)
        elif self.is_main:
            taken = torch.empty(tuple(shape), dtype=torch.float32, device=self.device)
            dist.recv(taken, src=source)
            return taken.cpu()
        return None

    def barrier(self) -> None:
        """Wait for all ranks."""
        dist.barrier()

    def memory_bytes(self) -> float:
        """Return the peak memory of this rank: of the GPU, or resident on a CPU."""
        if self.device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self.device))
        import resource

        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def choose_accelerator() -> None:
    """Tell DeepSpeed what it computes on, before it is imported: what the launcher says, else CUDA if there is any."""
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")


def is_main_process() -> bool:
    """Whether this is rank 0, also before the ranks have met."""
    return os.environ.get("RANK", "0") == "0"


def start(timeout_seconds: int, *, trains: bool = True) -> Runtime:
    """Meet the other ranks and return this one.

    trains: start DeepSpeed as well, seconds of imports that only trainers need.

    Raises:
        Unreachable: if rank 0 cannot be reached, or not all ranks come in time.
        Refused: if this rank has no GPU where it is to compute on one.
        RunFailed: if its GPU is taken or broken.
        RuntimeError: torch's own, if the memory of its GPU is full.
    """
    cuda = os.environ["DS_ACCELERATOR"] == "cuda"
    rank, local_rank, world_size = (int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    device = take_gpu(local_rank) if cuda else torch.device("cpu")
    timeout = timedelta(seconds=timeout_seconds)
    # DeepSpeed makes further groups without naming a timeout; these are what they get.
    vars(distributed_c10d).update(default_pg_timeout=timeout, default_pg_nccl_timeout=timeout)
    # A rank alone needs no port, and so can never find it taken.
    store = dist.HashStore() if world_size == 1 else None  # type: ignore[attr-defined]
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        dist.init_process_group(
            "nccl" if cuda else "gloo",
            store=store,
            rank=rank,
            world_size=world_size,
            timeout=timeout,
            device_id=device if cuda else None,  # without it NCCL guesses one by the rank
        )
    except (dist.DistError, RuntimeError, ValueError) as error:
        raise nccl_failure(str(error)) or _meeting_failure(error, where, world_size, timeout_seconds) from error
    if trains:
        _start_deepspeed(timeout)
    return Runtime(rank, local_rank, world_size, device, Folders.one(world_size))


def _start_deepspeed(timeout: timedelta) -> None:
    import deepspeed
    import deepspeed.ops

    # DeepSpeed calls collectives under names that torch now has better ones for, and each call would say so.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    # Compiled when first used, it leaks 69 MB of shared memory a rank and serves inference only.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.utils.logger.setLevel("WARNING")
    deepspeed.init_distributed(timeout=timeout, verbose=False)


def _meeting_failure(error: Exception, where: str, world_size: int, timeout_seconds: int) -> Unreachable:
    text = str(error)
    if "EADDRINUSE" in text or "address already in use" in text.lower():
        return Unreachable("the port where the ranks meet is in use.", hint="Choose another MASTER_PORT.", where=where)
    if "clients joined" in text:
        joined = text.partition(" clients joined")[0].rpartition(" ")[2]
        return Unreachable(f"only {joined} ranks came within {timeout_seconds} s.", where=where)
    if "timed out" in text.lower() or "refused" in text.lower():
        return Unreachable(f"rank 0 did not answer within {timeout_seconds} s.", where=where)
    return Unreachable(f"the {world_size} ranks could not meet: {first_line(error)}", where=where)


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says, or its type."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


_CONNECTION_WORDS = ("connection closed by peer", "connection reset", "socket timeout", "timed out", "broken pipe")


_SMALLER = "Lower train.micro_batch_size or data.max_length, or raise train.zero_stage."


@contextmanager
def explained(doing: str, *, smaller: str = _SMALLER) -> Iterator[None]:
    """Turn what torch and DeepSpeed raise while `doing` into one sentence for a person.

    smaller: what to do where the memory of a GPU does not suffice.

    Raises:
        RunFailed: with the original exception as its cause.
    """
    try:
        yield
    except PlumblineError:
        raise
    except torch.OutOfMemoryError as error:
        raise RunFailed(
            f"the GPU ran out of memory while {doing}.",
            hint=smaller,
        ) from error
    except OSError as error:
        where = str(error.filename) if error.filename else None
        raise RunFailed(f"{error.strerror or first_line(error)} while {doing}.", where=where) from error
    except RuntimeError as error:
        text = str(error).lower()
        if isinstance(error, dist.DistError) or any(word in text for word in _CONNECTION_WORDS):
            raise RunFailed(
                f"lost contact with another rank while {doing}.", hint="Its own log says why it ended."
            ) from error
        raise Unforeseen(f"{type(error).__name__} while {doing}: {first_line(error)}") from error
    except Exception as error:
        raise Unforeseen(f"{type(error).__name__} while {doing}: {first_line(error)}") from error


def seed_everything(seed: int) -> None:
    """Seed the random generators that models and data use."""
    random.seed(seed)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """Return the state of this rank's random generators, as tensors and plain values."""
    state: dict[str, Any] = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Put this rank's random generators back to where `random_state` found them."""
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def leave(code: int) -> NoReturn:
    """End this process now. Taking torch apart in order would cost another 1.5 CPU seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
