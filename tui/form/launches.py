"""What a person launches from the terminal UI: what was asked for, whether it holds, and the queueing of it.

Everything here reads and writes; call it from threads.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import PlumblineError

if TYPE_CHECKING:
    from engine.cluster.hostfile import Hostfile
    from engine.dispatch.fitting import Fit
    from engine.dispatch.launching import ReadyPipeline
    from engine.dispatch.outlook import Durations, Outlook
    from engine.dispatch.placement import Seat
    from engine.dispatch.readiness import Grounds, Ready
    from engine.dispatch.records import Records
    from engine.dispatch.survey import Machine, Survey, SurveyReader
    from engine.spec.models import AnySpec
    from engine.store.inputs import Input


_SURVEY_LASTS = 2.0  # seconds; while one types a plan is made often


@dataclass(frozen=True, slots=True)
class Request:
    """What was chosen for a launch: a recipe, an experiment to clone, or a kind, of which the settings say all.

    `hostfile` null is this machine, without SSH; of a clone, where the experiment ran.
    """

    recipe: Path | None = None
    hostfile: Path | None = None
    name: str = ""
    overrides: tuple[str, ...] = ()
    clone: str | None = None
    tags: tuple[str, ...] = ()
    priority: int = 0
    after: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()  # stages of a pipeline
    kind: str | None = None
    gpu_memory: str = ""  # of one GPU, for the plan; empty: what is known, or the usual
    force: bool = False

    @property
    def source(self) -> str:
        """What errors call it."""
        return self.clone or (f"--kind {self.kind}" if self.kind else str(self.recipe))

    def command(self, database: str | None = None) -> str:
        """Return the `engine` command that does the same. database: what `--db` must say, if anything."""
        words = ["engine", "launch"]
        words += ["--clone", self.clone] if self.clone else ["--kind", self.kind] if self.kind else [str(self.recipe)]
        words += ["--hostfile", str(self.hostfile)] if self.hostfile else []
        words += ["--name", self.name] if self.name else []
        for option, values in (("--tag", self.tags), ("--set", self.overrides)):
            words += [word for value in values for word in (option, value)]
        for option, values in (("--skip", self.skip), ("--after", self.after)):
            words += [word for value in values for word in (option, value)]
        words += ["--priority", str(self.priority)] if self.priority else []
        words += ["--gpu-memory", self.gpu_memory] if self.gpu_memory else []
        words += ["--force"] if self.force else []
        return shlex.join([*words, "--db", database] if database else words)


@dataclass(frozen=True, slots=True)
class Plan:
    """A request that holds: its spec is valid, what it takes is there or will be, and it can run where it is to run."""

    request: Request
    spec: AnySpec  # with paths in place of references, unless something is still to be made
    hosts: Hostfile
    grounds: Grounds
    ready: Ready
    outlook: Outlook | None = None  # null: there is no database yet
    machines: Sequence[Machine] = ()  # of its hostfile, as far as they are known
    against: str | None = None  # why its plan says that it cannot run: it is forced

    @property
    def name(self) -> str:
        """What the experiment will be called; empty: by its id."""
        return self.request.name or self.spec.name or ""

    @property
    def seats(self) -> Sequence[Seat]:
        """What it takes of the nodes."""
        return self.ready.seats

    @property
    def inputs(self) -> Sequence[Input]:
        """What its references mean."""
        return self.ready.inputs

    @property
    def fit(self) -> Fit | None:
        """Whether it fits, as far as that can be said."""
        return self.ready.fit

    @property
    def warnings(self) -> Sequence[str]:
        """What is odd about it, in sentences."""
        if self.against is not None:
            return (f"Its plan says that it cannot run: {self.against}",)
        if self.fit is None:
            return ()
        if self.fit.unchecked is not None:
            return (f"Not checked whether it fits: {self.fit.unchecked}",)
        return self.fit.warnings

    @property
    def ranks(self) -> tuple[int, int]:
        """Nodes and ranks that it takes."""
        return len(self.seats), sum(seat.slots for seat in self.seats)


@dataclass(frozen=True, slots=True)
class PipelinePlan:
    """A request for the stages of a pipeline, all of which can run."""

    request: Request
    hosts: Hostfile
    grounds: Grounds
    ready: ReadyPipeline
    survey: Survey | None = None

    @property
    def name(self) -> str:
        """Of the pipeline."""
        return self.ready.pipeline.name

    @property
    def warnings(self) -> Sequence[str]:
        """What is odd about its stages, in sentences."""
        return [
            f"{name}: {sentence}"
            for name, stage in self.ready.stages.items()
            if stage.fit is not None
            for sentence in stage.fit.warnings
        ]


class Launcher:
    """Checks requests and queues them. `wake` starts the dispatcher of a database unless it runs already."""

    def __init__(self, database: Path, wake: Callable[[Path], None]) -> None:
        self.database, self._wake = database, wake
        self._lock = threading.Lock()
        self._records: Records | None = None
        self._readers: tuple[SurveyReader, Durations] | None = None
        self._survey: Survey | None = None  # the last one

    def plan(self, request: Request) -> Plan:
        """Return the checked plan of a launch.

        Raises:
            InvalidInput, NotFound, Refused: with the sentence that says why not.
        """
        from engine.dispatch.readiness import made_ready

        with self._lock:
            records = self._opened()
            spec, ran_on = _spec_of(records, request)
            grounds = self._grounds(records, request, ran_on)
            ready = made_ready(records, spec, grounds, where=request.source)
            ready, against = _judged(ready, grounds, request.source) if request.force else (ready, None)
            outlook, survey = self._outlook(records, ready, grounds, request.priority)
        keys = {seat.host for seat in ready.seats}
        machines = [each for each in survey.machines if each.host in keys] if survey is not None else []
        return Plan(request, ready.spec, grounds.hosts_or_here, grounds, ready, outlook, machines, against)

    def plan_pipeline(self, request: Request) -> PipelinePlan:
        """Return the checked plan of the launch of a pipeline. Raises as `plan` does."""
        from engine.dispatch.launching import pipeline_made_ready
        from engine.spec.pipeline import load_pipeline

        assert request.recipe is not None
        pipeline = load_pipeline(request.recipe, request.overrides, name=request.name or None)
        with self._lock:
            records = self._opened()
            grounds = self._grounds(records, request, None)
            ready = pipeline_made_ready(records, pipeline, grounds, skip=request.skip)
            survey = self._surveyed(records)
        return PipelinePlan(request, grounds.hosts_or_here, grounds, ready, survey)

    def launch(self, plan: Plan | PipelinePlan) -> list[str]:
        """Queue it, start the dispatcher, and return the new ids, parents first."""
        from engine.dispatch.launching import queue, queue_pipeline

        request = plan.request
        with self._lock:
            records = self._opened()
            if isinstance(plan, PipelinePlan):
                launched = queue_pipeline(
                    records, plan.ready, plan.grounds, tags=request.tags, priority=request.priority
                )
                ids = [launched.stages[stage] for stage in plan.ready.stages]
            else:
                ids = queue(
                    records,
                    [plan.ready],
                    plan.grounds,
                    name=request.name or None,
                    tags=request.tags,
                    priority=request.priority,
                    parent_id=request.clone,
                )
        self._wake(self.database)
        return ids

    def _opened(self) -> Records:
        from engine.dispatch.records import Records

        if self._records is None:
            self._records = Records(self.database)
        return self._records

    def _grounds(self, records: Records, request: Request, ran_on: Hostfile | None) -> Grounds:
        from engine.cluster.hostfile import load_hostfile
        from engine.dispatch.readiness import Grounds
        from engine.store import experiments

        hosts = load_hostfile(request.hostfile.resolve()) if request.hostfile else ran_on
        after = [experiments.resolve(records.store(), reference) for reference in request.after]
        return Grounds(hosts, after, request.gpu_memory or None, request.force)

    def _surveyed(self, records: Records) -> Survey | None:
        from engine.dispatch.outlook import Durations
        from engine.dispatch.survey import SurveyReader

        if not records.exists:
            return None
        if self._readers is None:
            self._readers = SurveyReader(records.store()), Durations(records.store())
        if self._survey is None or time.time() - self._survey.at > _SURVEY_LASTS:
            self._survey = self._readers[0].read()
        return self._survey

    def _outlook(
        self, records: Records, ready: Ready, grounds: Grounds, priority: int
    ) -> tuple[Outlook | None, Survey | None]:
        from engine.dispatch.outlook import outlook

        survey = self._surveyed(records)
        if survey is None or self._readers is None:
            return None, None
        seconds, like = self._readers[1].of(ready.spec, ready.seats)
        try:
            found = outlook(survey, ready.spec, grounds.hosts_or_here, priority=priority)
        except PlumblineError:
            return None, survey
        return replace(found, seconds=seconds, like=like), survey


def _spec_of(records: Records, request: Request) -> tuple[AnySpec, Hostfile | None]:
    """Return the spec that is asked for, its paths absolute, and where what it is a clone of ran."""
    from engine.spec.loading import load_spec, spec_of_kind
    from engine.spec.resolve import with_absolute_paths

    if request.clone is not None:
        from engine.dispatch.cloning import clone_of

        clone = clone_of(records.store(), request.clone)
        return clone.spec(request.overrides), clone.hosts
    if request.kind is not None:
        return with_absolute_paths(spec_of_kind(request.kind, request.overrides), Path.cwd()), None
    assert request.recipe is not None
    folder = request.recipe.resolve().parent
    return with_absolute_paths(load_spec(request.recipe, request.overrides), folder), None


def _judged(ready: Ready, grounds: Grounds, source: str) -> tuple[Ready, str | None]:
    """Return what is forced with what its plan says of it, and why it cannot run, if it says so."""
    from engine.dispatch.fitting import CannotRun, require_fit, seats_and_place
    from engine.spec.references import references_of

    if references_of(ready.spec):
        return ready, None
    _, place = seats_and_place(ready.spec, grounds.hosts_or_here, grounds.gpu_memory)
    try:
        return replace(ready, fit=require_fit(ready.spec, place, where=source)), None
    except CannotRun as error:
        return ready, error.message


def find_files(folder_name: str, suffix: str, roots: Sequence[Path]) -> list[Path]:
    """Return the files below `folder_name` of each root, sorted; those of the working folder relative to it."""
    found: dict[Path, Path] = {}
    for root in roots:
        for path in sorted((root / folder_name).rglob(f"*{suffix}")):
            if path.is_file() and not path.name.startswith("."):
                found.setdefault(path.resolve(), _relative(path))
    return list(found.values())


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def near(path: Path) -> str:
    """Return the path as it is shown: relative to here, or to the home folder with ~."""
    for folder, sign in ((Path.cwd(), ""), (Path.home(), "~/")):
        if path.is_absolute() and path.is_relative_to(folder):
            return f"{sign}{path.relative_to(folder)}"
    return str(path)
