"""The pipeline of recipes/squad on real files, over SSH: what each model answers, and how well the reward model judges.

python benchmarks/real_questions.py                        SQuAD and HaluEval: minutes on two cores
python benchmarks/real_questions.py --squad FILE --halueval FILE --seed 1
python benchmarks/real_questions.py --work DIR             keep data, runs and report there
python benchmarks/real_questions.py --niceness 10          beside other work

Two OpenSSH nodes of one slot on loopback; everything else is what a person types, by the recipes as they are. Beside
the clock stand seconds of processor time of the ranks, as far as a look each second sees them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from machine import describe

sys.path.insert(0, str(Path(__file__).parent.parent))
from engine.cluster.testbed import Testbed

REPOSITORY = Path(__file__).parent.parent
DATA = REPOSITORY.parent / "shared" / "data"
STAGES = ("eval-sft", "eval-sft-rag", "eval-ppo", "eval-ppo-rag")
OUTCOMES = ("correct", "abstained", "hallucinated", "score")
_TICKS = os.sysconf("SC_CLK_TCK")


class Work:
    """A folder with the recipes, the data and a database, and `engine` in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(REPOSITORY / "recipes/squad", folder / "recipes/squad", dirs_exist_ok=True)

    def engine(self, *arguments: str) -> str:
        """Run a command to its end; return what it printed."""
        environment = {**os.environ, "ENGINE_DB": "experiments.db", "PYTHONPATH": str(REPOSITORY.resolve())}
        command = [sys.executable, "-m", "engine.cli", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"engine {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def shown(self, stage: str) -> Any:
        """Return what is known of a stage."""
        return json.loads(self.engine("show", f"squad-{stage}", "--json"))


@contextmanager
def processor_seconds(folder: Path) -> Iterator[dict[int, float]]:
    """Look each second how long the processes that name the folder have computed, by their ids."""
    seen: dict[int, float] = {}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(1.0):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if str(folder) in (process / "cmdline").read_text(errors="replace"):
                        cells = (process / "stat").read_text().rpartition(")")[2].split()
                        seen[int(process.name)] = (int(cells[11]) + int(cells[12])) / _TICKS
                except OSError:
                    continue

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        ended.set()
        looking.join()


def tell(work: Work) -> None:
    """Print what the stages took, and what they made."""
    for stage in ("sft", "rm", "index", "ppo", *STAGES):
        shown = work.shown(stage)
        print(f"  {stage:<13} {shown['state']}, step {shown['step']}, nodes: {shown['nodes']}")
    metrics = json.loads(work.engine("metrics", "squad-rm", "--last", "--json"))["metrics"]
    pairs = [json.loads(line) for line in (work.folder / "demo/halueval/preferences-eval.jsonl").open()]
    print(f"reward model, held-out pairs of HaluEval ({len(pairs) // 3} questions); who prefers the shorter answer:")
    for group in ("correct_over_wrong", "correct_over_abstained", "abstained_over_wrong"):
        own = [pair for pair in pairs if pair["group"] == group]
        shorter = sum(len(pair["chosen"]) < len(pair["rejected"]) for pair in own) / len(own)
        print(f"  {group:<23} {metrics[f'eval_accuracy/{group}']:.3f}   {shorter:.3f}")
    found = json.loads(work.engine("metrics", "squad-index", "--last", "--json"))["metrics"]
    print(f"index, paragraph of the question: recall@1 {found['recall@1']:.3f}, recall@5 {found['recall@5']:.3f}")
    print(f"{'held-out questions of SQuAD':<28}" + "".join(f"{name:>24}" for name in OUTCOMES))
    for stage in STAGES:
        (made,) = [one for one in work.shown(stage)["artifacts"] if one["kind"] == "evaluation"]
        panel = json.loads((Path(made["path"]) / "panel.json").read_text())
        for name, part in {"all": panel, **panel["by"]}.items():
            cells = "".join(f"{_interval(part['figures'][outcome]):>24}" for outcome in OUTCOMES)
            print(f"{stage:<13} {name:<14}{cells}")


def _interval(figure: dict[str, float]) -> str:
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def measure(work: Work, arguments: argparse.Namespace) -> None:
    """Go the whole way, and print it."""
    seed = str(arguments.seed)
    began = time.monotonic()
    squad = ["data", "squad", str(arguments.squad.resolve()), "--out", "demo/squad", "--seed", seed]
    print(work.engine(*squad, "--sentences", "1", "--missing", "0.1").strip())
    halueval = ["data", "halueval", str(arguments.halueval.resolve()), "--out", "demo/halueval", "--seed", seed]
    print(work.engine(*halueval).strip())
    ssh = work.folder / "ssh"
    with (
        Testbed.start(ssh, nodes=2, slots=1, workdir=work.folder / "nodes") as nodes,
        processor_seconds(work.folder / "nodes") as computed,
    ):
        launch = ["launch", "recipes/squad/pipeline.yaml", "--hostfile", str(nodes.hostfile), "--set", f"seed={seed}"]
        work.engine(*launch, "--wait")
        work.engine("report", "squad", *(word for kind in ("html", "md", "json") for word in ("-o", f"squad.{kind}")))
    took = time.monotonic() - began
    print(f"the whole way in {took:.0f} s, with the report; the ranks computed {sum(computed.values()):.0f} s")
    tell(work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--squad", type=Path, default=DATA / "squad-dev-v2.0.json")
    parser.add_argument("--halueval", type=Path, default=DATA / "halueval-qa.jsonl")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--niceness", type=int, default=0)
    arguments = parser.parse_args()
    missing = [file for file in (arguments.squad, arguments.halueval) if not file.is_file()]
    if missing:
        sys.exit(f"there is no {missing[0]}: name it with --squad or --halueval.")
    os.nice(arguments.niceness)
    print(describe())
    if arguments.work is not None:
        arguments.work.mkdir(parents=True, exist_ok=True)
        measure(Work(arguments.work.resolve()), arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Work(Path(folder)), arguments)


if __name__ == "__main__":
    main()
