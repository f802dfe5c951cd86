"""What a GPU and its driver tell, and what is installed beside them."""

from __future__ import annotations

import subprocess
import sys

from gpu_runs import Runs

ENVIRONMENT = """
import importlib.metadata as m, torch
names = "torch transformers deepspeed peft accelerate tokenizers safetensors numpy flash-attn".split()
print(", ".join(f"{n} {next((d.version for d in m.distributions(name=n)), 'is absent')}" for n in names))
print(f"CUDA {torch.version.cuda}, NCCL {torch.cuda.nccl.version()}, bf16 {torch.cuda.is_bf16_supported()}")
print(torch.cuda.get_device_properties(0))
"""


def environment(runs: Runs) -> None:
    """Versions, the GPU as its driver tells it, and what the plan takes this machine for."""
    print(runs.ask(sys.executable, "-c", ENVIRONMENT).strip())
    fields = (
        "index,uuid,name,driver_version,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw,"
        "ecc.errors.uncorrected.volatile.total,clocks_throttle_reasons.active"
    )
    plain = "--format=csv,noheader,nounits"
    busy = "import sys, torch; x = torch.rand(8192, 8192, device='cuda')\nfor _ in range(300): y = x @ x\n"
    busy += "torch.cuda.synchronize(); print('busy', flush=True)\nwhile True: y = x @ x; torch.cuda.synchronize()"
    worker = subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        worker.stdout.readline()
        asked = {
            "query-gpu.txt": ("nvidia-smi", f"--query-gpu={fields}", plain),
            "compute-apps.txt": ("nvidia-smi", "--query-compute-apps=pid,process_name,used_memory", plain),
            "query.xml": ("nvidia-smi", "-q", "-x"),
            "topology.txt": ("nvidia-smi", "topo", "-m"),
        }
        for file, command in asked.items():
            (runs.out / file).write_text(runs.ask(*command)[:20000])
    finally:
        worker.kill()
        worker.wait()
    print((runs.out / "query-gpu.txt").read_text().strip())
    held = [line.split(",")[-1] for line in (runs.out / "compute-apps.txt").read_text().splitlines()]
    print(f"a process that multiplies two matrices holds{held[0] if held else ' an unknown number of'} MiB")
