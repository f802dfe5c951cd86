"""How a rank learns which one it is."""

from __future__ import annotations

import pytest

from engine.errors import Refused
from engine.job.environment import first_host, prepare


def test_a_process_alone_is_the_only_rank() -> None:
    environ: dict[str, str] = {}
    prepare(environ)
    assert (environ["RANK"], environ["LOCAL_RANK"], environ["WORLD_SIZE"]) == ("0", "0", "1")


def test_what_a_launcher_set_stays() -> None:
    environ = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4321"}
    given = dict(environ)
    prepare(environ)
    assert environ.items() >= given.items()


def test_half_a_launcher_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="set RANK but not LOCAL_RANK, WORLD_SIZE"):
        prepare({"RANK": "0"})


def test_srun_is_understood_and_its_tasks_agree_where_to_meet() -> None:
    step = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_JOB_ID": "61234"}
    ranks = [step | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank % 2)} for rank in range(4)]
    for environ in ranks:
        prepare(environ)
    assert [environ["RANK"] for environ in ranks] == ["0", "1", "2", "3"]
    assert [environ["LOCAL_RANK"] for environ in ranks] == ["0", "1", "0", "1"]
    assert {(environ["MASTER_ADDR"], environ["MASTER_PORT"]) for environ in ranks} == {("gpu03", "21234")}


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("gpu[03-07,9],login", "gpu03"), ("login,gpu[1-2]", "login"), ("a-1.example", "a-1.example"), ("n[12]", "n12")],
)
def test_the_first_host_of_a_slurm_list(nodes: str, host: str) -> None:
    assert first_host(nodes) == host
