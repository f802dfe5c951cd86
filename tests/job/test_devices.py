"""Where CUDA or NCCL do not give a rank its GPU, one sentence says why."""

from __future__ import annotations

import pytest

from engine.errors import ExitCode, Refused
from engine.job.devices import gpu_failure, nccl_failure, take_gpu

# As torch says it: what happened, and then what a programmer might do.
BROKEN = """CUDA error: uncorrectable ECC error encountered
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
"""
NO_ROOM = """NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:93, unhandled cuda error (run with \
NCCL_DEBUG=INFO for details), NCCL version 2.28.9
ncclUnhandledCudaError: Call to CUDA function failed.
Last error:
Cuda failure 2 'out of memory'"""


def test_no_gpu_is_taken_that_is_not_there() -> None:
    with pytest.raises(Refused, match="GPU 99, and sees"):
        take_gpu(99)


def test_a_broken_gpu_is_told_in_a_line() -> None:
    error = gpu_failure(BROKEN, 2)
    assert error.message == "GPU 2 cannot be used: CUDA error: uncorrectable ECC error encountered"
    assert error.exit_code == ExitCode.RUN_FAILED


def test_what_nccl_lacks_on_its_own_gpu_is_no_matter_of_reaching_others() -> None:
    error = nccl_failure(NO_ROOM)
    assert error is not None and error.exit_code == ExitCode.RUN_FAILED
    assert error.message == "NCCL cannot use this rank's GPU: Cuda failure 2 'out of memory'"
    assert nccl_failure("Timed out after 61 seconds waiting for clients. 1/2 clients joined.") is None
