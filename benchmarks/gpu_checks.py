"""Checks of training on a GPU: tiny models through `engine train` beside the CPU, faults, and memory beside the plan.

python benchmarks/gpu_checks.py [--only training,resuming,…] [--seconds N] [--out FOLDER]

Each check prints what it found; one that fails does not end the others. Nothing is downloaded. Without a GPU it checks
nothing, unless --cpu has the training and resuming checks run on the CPU, to see that they work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from machine import describe

HERE = Path(__file__).parent
STEPS = 20
ON_CPU = {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
SHAPE = {"hidden_size": 128, "layers": 3, "heads": 4, "intermediate_size": 352, "max_positions": 128}

ENVIRONMENT = """
import importlib.metadata as m, torch
names = "torch transformers deepspeed peft accelerate tokenizers safetensors numpy flash-attn".split()
print(", ".join(f"{n} {next((d.version for d in m.distributions(name=n)), 'is absent')}" for n in names))
print(f"CUDA {torch.version.cuda}, NCCL {torch.cuda.nccl.version()}, bf16 {torch.cuda.is_bf16_supported()}")
print(torch.cuda.get_device_properties(0))
"""

# Takes all memory but for some MiB, tells how that ended if it was to take all, and keeps it until it is ended.
HOG = """
import sys, torch
left, held, size = int(sys.argv[1]) << 20, [], 1 << 30
if left:
    torch.zeros(1, device="cuda")
    held.append(torch.empty(torch.cuda.mem_get_info()[0] - left, dtype=torch.uint8, device="cuda"))
while not left and size > 1 << 20:
    try:
        held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
    except torch.OutOfMemoryError as error:
        if size == 1 << 30:
            print(f"{type(error).__name__}: {error}\\n\\n{torch.cuda.memory_summary(abbreviated=True)}")
        size //= 4
print("full", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """A run that has ended."""

    name: str
    folder: Path
    code: int
    seconds: float
    stderr: str

    def metrics(self, name: str) -> list[float]:
        """Return a metric by step, without what a later attempt superseded."""
        points: dict[int, float] = {}
        file = self.folder / "metrics.jsonl"
        for line in file.read_text().splitlines() if file.exists() else ():
            record = json.loads(line)
            if record["kind"] == "start":
                points = {step: value for step, value in points.items() if step <= record["resumed_step"]}
            elif name in record["metrics"]:
                points[record["step"]] = float(record["metrics"][name])
        return [points[step] for step in sorted(points)]

    @property
    def error(self) -> str:
        """The last line that it wrote to stderr."""
        return (self.stderr.strip().splitlines() or [""])[-1]

    @property
    def digest(self) -> str:
        """Of the exported weights."""
        return hashlib.sha256((self.folder / "export/model.safetensors").read_bytes()).hexdigest()[:12]


class Checks:
    """The checks, and where they write."""

    def __init__(self, work: Path, out: Path, *, cpu: bool, seconds: float) -> None:
        self.work, self.out, self.cpu = work, out, cpu
        self.deadline = time.monotonic() + seconds
        self.environ = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_EXTENSIONS_DIR": str(work / "compiled")}
        self.told: dict[str, str] = {}  # what runs wrote to stderr
        self.failed: set[str] = set()  # names of runs
        self.pool = ThreadPoolExecutor(2 if cpu else 14)
        self.facts = work / "facts"  # the built-in world
        self.ask(sys.executable, "-m", "engine.cli", "data", "facts", "--out", str(self.facts))

    # Running

    @property
    def left(self) -> float:
        """Seconds."""
        return max(1.0, self.deadline - time.monotonic())

    def train(self, name: str, spec: Mapping[str, Any], *, kill_at: int | None = None, cpu: bool = False) -> Ran:
        """Run `engine train`; with `kill_at`, kill it once it has logged that step, and run it again."""
        folder = self.work / name
        folder.mkdir(exist_ok=True)
        (folder / "spec.yaml").write_text(json.dumps(spec))
        command = [sys.executable, "-m", "engine.cli", "train", str(folder / "spec.yaml"), "--run-dir"]
        environ = self.environ | (ON_CPU if cpu or self.cpu else {})
        began = time.monotonic()
        if kill_at is not None:
            self._kill([*command, str(folder / "run")], environ, folder / "run/metrics.jsonl", kill_at)
        with (folder / "stderr").open("w+") as errors:
            process = subprocess.Popen(
                [*command, str(folder / "run")], env=environ, stdout=subprocess.DEVNULL, stderr=errors
            )
            try:
                code = process.wait(self.left)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            errors.seek(0)
            self.told[name] = errors.read()
        if code:
            self.failed.add(name)
        return Ran(name, folder / "run", code, time.monotonic() - began, self.told[name])

    def _kill(self, command: Sequence[str], environ: Mapping[str, str], metrics: Path, step: int) -> None:
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + self.left
        while process.poll() is None and time.monotonic() < deadline:
            if metrics.exists() and f'"step":{step},' in metrics.read_text():
                break
            time.sleep(0.001)
        process.kill()
        if process.wait() >= 0:
            raise RuntimeError(f"it ended with {process.returncode} before it was killed")

    def all(self, *tasks: Callable[[], Ran]) -> list[Ran]:
        """Run some at once."""
        return list(self.pool.map(lambda task: task(), tasks))

    def ask(self, *command: str) -> str:
        """Return what a command prints."""
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150, env=self.environ)
        return run.stdout + run.stderr

    # Specs

    def settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the section `train`."""
        return {
            "steps": STEPS,
            "batch_size": 64,
            "micro_batch_size": 32,
            "lr": 1e-3,
            "precision": "fp32",
            "zero_stage": 2,
            "eval_batches": 2,
            "sample_prompts": 2,
            "sample_tokens": 4,
            **settings,
        }

    def sft(self, model: Mapping[str, Any] | None = None, data: Mapping[str, Any] | None = None, **train: Any) -> Any:
        """Return a spec: a tiny model from scratch."""
        files = {"train": str(self.facts / "sft.jsonl"), "eval": str(self.facts / "sft-eval.jsonl"), "max_length": 96}
        made = {"architecture": SHAPE, "tokenizer": {"kind": "word"}}
        return {
            "kind": "sft",
            "model": made | dict(model or {}),
            "data": files | dict(data or {}),
            "train": self.settings(train),
        }

    def rm(self, base: Path, model: Mapping[str, Any] | None = None, **train: Any) -> Any:
        """Return a spec: over what fine-tuning made."""
        files = {
            "train": str(self.facts / "preferences.jsonl"),
            "eval": str(self.facts / "preferences-eval.jsonl"),
            "max_length": 96,
        }
        own = {"path": str(base), **(model or {})}
        return {"kind": "rm", "model": own, "data": files, "train": self.settings({"steps": 8, **train})}

    def ppo(self, policy: Path, judge: Path, settings: Mapping[str, Mapping[str, Any]], **train: Any) -> Any:
        """Return a spec: three rollouts of 96 answers."""
        spec: dict[str, Any] = {
            "kind": "ppo",
            "model": {"path": str(policy)},
            "rewards": {"judge": {"path": str(judge), "clip": 3.0}},
            "data": {
                "train": str(self.facts / "prompts.jsonl"),
                "eval": str(self.facts / "prompts-eval.jsonl"),
                "max_prompt_length": 32,
                "max_response_length": 8,
            },
            "rollout": {"prompts": 48, "samples_per_prompt": 2, "batch_size": 96},
            "train": self.settings({"steps": 3, "batch_size": 48, "micro_batch_size": 24, "lr": 3e-4, **train}),
        }
        for section, changed in settings.items():
            spec[section] = changed if section == "ppo" else {**spec.get(section, {}), **changed}
        return spec

    # Checks

    def environment(self) -> None:
        """Versions, the GPU as its driver tells it, and what the plan takes this machine for."""
        print(self.ask(sys.executable, "-c", ENVIRONMENT).strip())
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
                (self.out / file).write_text(self.ask(*command)[:20000])
        finally:
            worker.kill()
            worker.wait()
        print((self.out / "query-gpu.txt").read_text().strip())
        held = [line.split(",")[-1] for line in (self.out / "compute-apps.txt").read_text().splitlines()]
        print(f"a process that multiplies two matrices holds{held[0] if held else ' an unknown number of'} MiB")

    def training(self) -> None:
        """Fine-tuning in all precisions and stages: losses beside those of the CPU in fp32."""
        cases: dict[str, Any] = {
            "fp32 ZeRO 0": {"zero_stage": 0},
            "fp32 ZeRO 2": {},
            "bf16 ZeRO 2": {"precision": "bf16"},
            "fp16 ZeRO 2": {"precision": "fp16"},
            "bf16 ZeRO 0": {"precision": "bf16", "zero_stage": 0},
            "bf16 ZeRO 1": {"precision": "bf16", "zero_stage": 1},
            "bf16 ZeRO 3": {"precision": "bf16", "zero_stage": 3},
            "bf16 ZeRO 2, optimiser offloaded": {"precision": "bf16", "offload_optimizer": True},
            "bf16 ZeRO 3, all offloaded": {
                "precision": "bf16",
                "zero_stage": 3,
                "offload_optimizer": True,
                "offload_parameters": True,
            },
            "bf16, recomputed": {"precision": "bf16", "gradient_checkpointing": True},
            "bf16, packed": {"precision": "bf16", "data": {"packing": True}},
            "bf16, attention sdpa": {"precision": "bf16", "model": {"attention": "sdpa"}},
            "bf16, attention eager": {"precision": "bf16", "model": {"attention": "eager"}},
            "fp16, a rate of 0.1": {"precision": "fp16", "lr": 0.1},
            "fp16, a rate of 1": {"precision": "fp16", "lr": 1.0},
            "fp16, a rate of 10": {"precision": "fp16", "lr": 10.0},
            "bf16, attention flash": {"precision": "bf16", "model": {"attention": "flash"}},
        }
        if self.cpu:
            cases = {name: case for name, case in cases.items() if name in ("fp32 ZeRO 0", "bf16, attention flash")}
        tasks = [lambda: self.train("CPU", self.sft(), cpu=True)]
        tasks += [lambda n=name, c=case: self.train(n, self.sft(**c)) for name, case in cases.items()]
        cpu, *ran = self.all(*tasks)
        losses = cpu.metrics("loss")
        print(f"{'':<34} seconds  last loss  farthest from the CPU's   GPU MiB")
        for one in (cpu, *ran):
            own = one.metrics("loss")
            if one.code or not own:
                print(f"{one.name:<34} {one.seconds:7.1f}  ended with {one.code}: {one.error}")
                continue
            far = max(abs(a - b) for a, b in zip(own, losses, strict=False))
            held = one.metrics("memory_bytes")[-1] / 2**20
            overflows = one.metrics("overflow")
            skipped = f"   {sum(overflows):.0f} of {len(overflows)} steps overflowed" if overflows else ""
            print(f"{one.name:<34} {one.seconds:7.1f}  {own[-1]:9.4f}  {far:20.6f}  {held:12.0f}{skipped}")

    def resuming(self) -> None:
        """A killed and resumed run beside one that was left alone, and that beside itself."""
        cases = {"fp32": {}, "bf16": {"precision": "bf16"}}
        if self.cpu:
            del cases["bf16"]
        tasks: list[Callable[[], Ran]] = []
        for name, case in cases.items():
            spec = self.sft(**{"steps": 60, "checkpoint_every": 10, **case})
            tasks += [lambda n=f"{name}-{copy}", s=spec: self.train(n, s) for copy in ("once", "again")]
            tasks += [lambda n=f"{name}-killed", s=spec: self.train(n, s, kill_at=34)]
        ran = {one.name: one for one in self.all(*tasks)}
        for name in cases:
            once = ran[f"{name}-once"]
            for other, what in ((ran[f"{name}-again"], "run again"), (ran[f"{name}-killed"], "killed and resumed")):
                pairs = list(zip(once.metrics("loss"), other.metrics("loss"), strict=True))
                far = max(abs(a - b) for a, b in pairs)
                same = "the same weights" if once.digest == other.digest else "other weights"
                print(f"{name}, {what}: losses of {len(pairs)} steps at most {far:.3g} apart, {same} to the bit")

    def reinforcing(self) -> None:
        """A reward model and PPO over it: networks apart, adapters over one base, other estimators, offload."""
        policy = self.train("policy", self.sft(steps=60)).folder / "export"
        lora = {"lora": {"rank": 8}}
        judge, adapted, half = self.all(
            lambda: self.train("reward model fp32", self.rm(policy)),
            lambda: self.train("reward model bf16, adapters", self.rm(policy, lora, precision="bf16")),
            lambda: self.train("reward model fp16", self.rm(policy, precision="fp16" if not self.cpu else "fp32")),
        )
        for one in (judge, adapted, half):
            loss = one.metrics("loss")
            print(f"{one.name:<34} {one.seconds:5.1f} s  loss {loss[0]:.4f} to {loss[-1]:.4f} {one.error}")
        whole, over = judge.folder / "export", adapted.folder / "export"
        shared = {"model": lora, "critic": {"share_base": True}}
        away = {"reference": {"zero_stage": 3}, "rewards": {"judge": {"path": str(whole), "offload": True}}}
        compared = {"ppo": {"estimator": "grpo"}}
        cases: dict[str, Any] = {
            "PPO fp32": self.ppo(policy, whole, {}),
            "PPO bf16": self.ppo(policy, whole, {}, precision="bf16"),
            "PPO fp16": self.ppo(policy, whole, {}, precision="fp16"),
            "PPO bf16, ZeRO 3, frozen ones away": self.ppo(policy, whole, away, precision="bf16", zero_stage=3),
            "PPO bf16, over one base, ZeRO 1": self.ppo(policy, over, shared, precision="bf16", zero_stage=1),
            "PPO fp32, over one base, ZeRO 2": self.ppo(policy, over, shared),
            "PPO bf16, grpo, recomputed": self.ppo(
                policy, whole, compared, precision="bf16", gradient_checkpointing=True
            ),
        }
        if self.cpu:
            cases = {name: spec for name, spec in cases.items() if "fp32" in name}
        steps = {"steps": 4, "checkpoint_every": 2}
        tasks = [lambda: self.train("PPO fp32 on the CPU", self.ppo(policy, whole, {}), cpu=True)]
        tasks += [lambda n=name, s=spec: self.train(n, s) for name, spec in cases.items()]
        tasks += [lambda: self.train("PPO fp32, 4 steps", self.ppo(policy, whole, {}, **steps))]
        tasks += [lambda: self.train("PPO fp32, killed", self.ppo(policy, whole, {}, **steps), kill_at=3)]
        *ran, once, killed = self.all(*tasks)
        print(f"{'':<36} seconds  kl at each step              logprob_gap  score at each step")
        for one in (*ran, once, killed):
            kl, gap, score = (one.metrics(name) for name in ("kl", "logprob_gap", "score"))
            if one.code or not kl:
                print(f"{one.name:<36} {one.seconds:7.1f}  ended with {one.code}: {one.error}")
                continue
            numbers = [one.metrics(name) for name in ("policy_loss", "grad_norm", "value_loss", "eval_score")]
            odd = "" if all(map(math.isfinite, chain(*numbers))) else "  NOT FINITE"
            series = "  ".join(f"{value:9.2e}" for value in kl[:3])
            scores = "  ".join(f"{value:7.4f}" for value in score[:3])
            print(f"{one.name:<36} {one.seconds:7.1f}  {series}  {max(gap):11.2e}  {scores}{odd}")
        apart = [
            max(abs(a - b) for a, b in zip(once.metrics(name), killed.metrics(name), strict=True))
            for name in ("kl", "score", "policy_loss", "value_loss")
        ]
        same = "the same weights" if once.digest == killed.digest else "other weights"
        print(f"PPO killed and resumed: kl, score and losses {apart} apart, {same} to the bit")

    def faults(self) -> None:
        """A run that takes too much, and one that finds the GPU full: what a person is told."""
        rows = 150000
        spec = self.sft(data={"loss_on": "all"}, steps=1, batch_size=rows, micro_batch_size=rows)
        ran = self.train("out of memory", spec)
        print(f"too much: ended with {ran.code}: {ran.error}")
        for left in (0, 700, 1400, 1900):
            hog = subprocess.Popen(
                [sys.executable, "-c", HOG, str(left)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            try:
                assert hog.stdout is not None
                text = "".join(iter(hog.stdout.readline, "full\n"))
                if text:
                    (self.out / "out-of-memory.txt").write_text(text)
                    print(text.partition("\n")[0])
                ran = self.train(f"{left} MiB left", self.sft(steps=1, precision="bf16"))
                print(f"{left} MiB left: ended with {ran.code}: {ran.error}", flush=True)
            finally:
                hog.kill()
                hog.wait()

    def models(self) -> None:
        """Models with random weights for the checks of memory."""
        self.made = {shape: self.pool.submit(self.model, shape) for shape in ("1.3b", "5b", "13b")}

    def model(self, shape: str) -> Path:
        """Return the folder of one, made at the first call."""
        folder = self.work / shape
        began = time.monotonic()
        self.told[shape] = self.ask(sys.executable, str(HERE / "random_model.py"), shape, str(folder), "1024")
        self.told[shape] += f"made in {time.monotonic() - began:.0f} s\n"
        return folder

    def memory(self) -> None:
        """Steps of fine-tuning of 1.3B: memory beside the plan."""
        folder = str(self.made["1.3b"].result())
        for more in (("--rows", "4"), ("--rows", "8", "--checkpointing")):
            self.script("sft_step.py", "--shape", "1.3b", "--model", folder, *more)
        shutil.rmtree(folder)

    def most_memory(self) -> None:
        """A step of fine-tuning of 5B, nearly all of an H200: memory beside the plan."""
        folder = str(self.made["5b"].result())
        self.script("sft_step.py", "--shape", "5b", "--model", folder, "--checkpointing", "--steps", "3")
        shutil.rmtree(folder)

    def reinforcing_step(self) -> None:
        """A step of PPO of 13B."""
        folder, limit = str(self.made["13b"].result()), str(min(150.0, self.left - 15))
        size = ("--shape", "13b", "--prompts", "64", "--steps", "2")
        self.script("ppo_step.py", "--model", folder, *size, "--seconds", limit)
        shutil.rmtree(folder)

    def script(self, name: str, *arguments: str) -> None:
        """Run another benchmark."""
        command = [sys.executable, str(HERE / name), *arguments]
        began = time.monotonic()
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=self.left, env=self.environ)
        self.told[" ".join((name, *arguments))] = run.stderr
        print(
            run.stdout.strip() if run.returncode == 0 else f"{name} ended with {run.returncode}: {run.stderr[-1500:]}"
        )
        print(f"  ({time.monotonic() - began:.0f} s in all)", flush=True)

    def noise(self) -> None:
        """What runs that went well wrote to stderr, and what was compiled on the way."""
        usual = (
            "step ",
            "Started",
            "Resumed",
            "Evaluated",
            "Saved",
            "Exported",
            "Finished",
            "Writing model",
            "made in",
        )
        told = "\n".join(text for name, text in self.told.items() if name not in self.failed)
        odd = {line for line in told.splitlines() if line.strip() and not line.startswith(usual)}
        print("\n".join(sorted(odd)[:25]) or "nothing unusual")
        made = sorted(path.name for path in (self.work / "compiled").rglob("*.so"))
        print(f"compiled: {', '.join(made) or 'nothing'}")


ALL = (
    "environment",
    "models",  # they are made while the next ones run
    "training",
    "resuming",
    "reinforcing",
    "memory",
    "reinforcing_step",
    "most_memory",
    "faults",
)
ALSO_ON_CPU = ("training", "resuming", "reinforcing")


def main() -> int:
    """Run the checks and print the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", help="names of checks, with commas")
    parser.add_argument("--out", type=Path, help="where raw texts go")
    parser.add_argument("--seconds", type=float, default=1800.0, help="for all of them")
    parser.add_argument("--cpu", action="store_true", help="see on a CPU that the checks work")
    arguments = parser.parse_args()
    if not arguments.cpu and shutil.which("nvidia-smi") is None:
        print("there is no GPU here, and nothing was checked")
        return 0
    names = arguments.only.split(",") if arguments.only else ALSO_ON_CPU if arguments.cpu else ALL
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        out = arguments.out or Path(work) / "out"
        out.mkdir(parents=True, exist_ok=True)
        checks = Checks(Path(work), out, cpu=arguments.cpu, seconds=arguments.seconds)
        print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {describe()}", flush=True)
        for name in (*names, "noise"):
            began = time.monotonic()
            check = getattr(checks, name)
            print(f"\n== {name}: {check.__doc__}")
            try:
                check()
            except Exception:
                failed += 1
                print(traceback.format_exc(limit=3))
            print(f"-- {time.monotonic() - began:.0f} s", flush=True)
        (out / "stderr.txt").write_text("".join(f"== {name}\n{text[-4000:]}\n" for name, text in checks.told.items()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
