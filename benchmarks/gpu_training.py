"""Checks of training on a GPU: losses and weights beside the CPU's, and after a run was killed and resumed."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from typing import Any

from gpu_runs import Ran, Runs


def training(runs: Runs) -> None:
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
    if runs.cpu:
        cases = {name: case for name, case in cases.items() if name in ("fp32 ZeRO 0", "bf16, attention flash")}
    tasks = [lambda: runs.train("CPU", runs.specs.sft(), cpu=True)]
    tasks += [lambda n=name, c=case: runs.train(n, runs.specs.sft(**c)) for name, case in cases.items()]
    cpu, *ran = runs.all(*tasks)
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


def resuming(runs: Runs) -> None:
    """A killed and resumed run beside one that was left alone, and that beside itself."""
    cases = {"fp32": {}, "bf16": {"precision": "bf16"}}
    if runs.cpu:
        del cases["bf16"]
    tasks: list[Callable[[], Ran]] = []
    for name, case in cases.items():
        spec = runs.specs.sft(**{"steps": 60, "checkpoint_every": 10, **case})
        tasks += [lambda n=f"{name}-{copy}", s=spec: runs.train(n, s) for copy in ("once", "again")]
        tasks += [lambda n=f"{name}-killed", s=spec: runs.train(n, s, kill_at=34)]
    ran = {one.name: one for one in runs.all(*tasks)}
    for name in cases:
        once = ran[f"{name}-once"]
        for other, what in ((ran[f"{name}-again"], "run again"), (ran[f"{name}-killed"], "killed and resumed")):
            pairs = list(zip(once.metrics("loss"), other.metrics("loss"), strict=True))
            far = max(abs(a - b) for a, b in pairs)
            same = "the same weights" if once.digest == other.digest else "other weights"
            print(f"{name}, {what}: losses of {len(pairs)} steps at most {far:.3g} apart, {same} to the bit")


def reinforcing(runs: Runs) -> None:
    """A reward model and PPO over it: networks apart, adapters over one base, other estimators, offload."""
    policy = runs.train("policy", runs.specs.sft(steps=60)).folder / "export"
    lora = {"lora": {"rank": 8}}
    judge, adapted, half = runs.all(
        lambda: runs.train("reward model fp32", runs.specs.rm(policy)),
        lambda: runs.train("reward model bf16, adapters", runs.specs.rm(policy, lora, precision="bf16")),
        lambda: runs.train("reward model fp16", runs.specs.rm(policy, precision="fp16" if not runs.cpu else "fp32")),
    )
    for one in (judge, adapted, half):
        loss = one.metrics("loss")
        print(f"{one.name:<34} {one.seconds:5.1f} s  loss {loss[0]:.4f} to {loss[-1]:.4f} {one.error}")
    whole, over = judge.folder / "export", adapted.folder / "export"
    shared = {"model": lora, "critic": {"share_base": True}}
    away = {"reference": {"zero_stage": 3}, "rewards": {"judge": {"path": str(whole), "offload": True}}}
    compared = {"ppo": {"estimator": "grpo"}}
    cases: dict[str, Any] = {
        "PPO fp32": runs.specs.ppo(policy, whole, {}),
        "PPO bf16": runs.specs.ppo(policy, whole, {}, precision="bf16"),
        "PPO fp16": runs.specs.ppo(policy, whole, {}, precision="fp16"),
        "PPO bf16, ZeRO 3, frozen ones away": runs.specs.ppo(policy, whole, away, precision="bf16", zero_stage=3),
        "PPO bf16, over one base, ZeRO 1": runs.specs.ppo(policy, over, shared, precision="bf16", zero_stage=1),
        "PPO fp32, over one base, ZeRO 2": runs.specs.ppo(policy, over, shared),
        "PPO bf16, grpo, recomputed": runs.specs.ppo(
            policy, whole, compared, precision="bf16", gradient_checkpointing=True
        ),
    }
    if runs.cpu:
        cases = {name: spec for name, spec in cases.items() if "fp32" in name}
    steps = {"steps": 4, "checkpoint_every": 2}
    tasks = [lambda: runs.train("PPO fp32 on the CPU", runs.specs.ppo(policy, whole, {}), cpu=True)]
    tasks += [lambda n=name, s=spec: runs.train(n, s) for name, spec in cases.items()]
    tasks += [lambda: runs.train("PPO fp32, 4 steps", runs.specs.ppo(policy, whole, {}, **steps))]
    tasks += [lambda: runs.train("PPO fp32, killed", runs.specs.ppo(policy, whole, {}, **steps), kill_at=3)]
    *ran, once, killed = runs.all(*tasks)
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
