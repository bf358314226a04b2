"""A run: cases × systems → pictures, scores, tables and a page, in one folder that may be left and taken up again."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..generation.sources import resolved_device
from ..parallel import Share, check_engine, local_device, run_here, run_on_ray, wait_for_all
from .benches import open_cases
from .cases import Case
from .metrics import MetricOptions, plan_metrics, score_case
from .metrics.scores import keep_columns
from .statistics import check_against
from .systems import System, SystemOptions, build_systems, draw_cases, is_drawn
from .systems.pictures import told_when_full, write_json

RUN = "run.json"
Item = tuple[str, tuple[int, ...]]  # system, and the numbers of the cases that it draws in one call


@dataclass(frozen=True)
class RunOptions:
    """What `relationbooth evaluate run` was asked for.

    Attributes:
        bench: "miniature", or a case file. output: folder of the run. systems: texts, see `build_systems`.
        pictures: of each case. limit: number of cases, spread over the bench; None: all.
        against: system that the report compares the others with; None: the first.
        shard: "i/n". engine: "local" or "ray". workers, ray_address: of Ray. gpus: of each of its workers.
    """

    bench: str
    output: Path
    systems: tuple[str, ...]
    system_options: SystemOptions
    metric_options: MetricOptions
    pictures: int = 1
    limit: int | None = None
    against: str | None = None
    shard: str | None = None
    engine: str = "local"
    workers: int = 1
    ray_address: str | None = None
    gpus: float = 0

    def here(self) -> "RunOptions":
        """The same with this process's device where "auto" stands: a worker elsewhere has its own."""
        generation, metrics = self.system_options.generation, self.metric_options
        generation = replace(generation, device=local_device(generation.device))
        return replace(
            self,
            system_options=replace(self.system_options, generation=generation),
            metric_options=replace(metrics, device=resolved_device(local_device(metrics.device))),
        )


class Run:
    """A checked run: nothing heavy has loaded yet.

    Raises:
        ValueError: anything wrong with cases, photos, systems, models' kinds or the folder, before models load.
    """

    def __init__(self, options: RunOptions):
        if options.pictures < 1:
            raise ValueError(f"`pictures` must be at least 1, got {options.pictures}.")
        check_engine(options.engine, options.shard)
        self._asked, options = options, options.here()
        self.options, self.root = options, Path(options.output)
        self.share = Share.of(options.shard)
        whole = open_cases(options.bench)
        whole.check()
        self.cases = whole.limited(options.limit)
        self.systems = build_systems(options.systems, options.system_options)
        check_against(options.against, [system.name for system in self.systems])
        for system in self.systems:
            system.prepare(self.cases, self.root)
        self._make_metrics = plan_metrics(options.metric_options, self.cases, self.root)
        self._metrics, self._loaded, self._pipeline = None, None, None
        self._claim_folder()

    def _claim_folder(self) -> None:
        """Take the folder up again, or begin it; later runs may add systems and cases of the same file."""
        path = self.root / RUN
        mine = {"fingerprint": self.cases.fingerprint, "pictures": self.options.pictures}
        names, found = [system.name for system in self.systems], {}
        # Looked at before the run's file: another process may be beginning the same run, which starts with that file.
        occupied = self.root.exists() and any(not file.match(".*.tmp") for file in self.root.iterdir())
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            if different := [name for name, value in mine.items() if found.get(name) != value]:
                shown = ", ".join(f"{n}: {found.get(n)} there, {mine[n]} asked for" for n in different)
                raise ValueError(
                    f"`{self.root}` is a run of other cases or pictures a case ({shown}). Choose another `--output`."
                )
        elif occupied:
            raise ValueError(f"the folder `{self.root}` holds something, but no run. Choose a new or empty folder.")
        bench = self.options.bench if self.options.bench == "miniature" else str(Path(self.options.bench).absolute())
        systems = [*found.get("systems", []), *(name for name in names if name not in found.get("systems", []))]
        limits = (self.options.limit, found.get("limit", self.options.limit))
        limit = None if None in limits else max(limits)  # a later, shorter run leaves a report of all that was drawn
        notes = {**found.get("notes", {}), **{system.name: system.note for system in self.systems if system.note}}
        document = {**mine, "bench": bench, "limit": limit, "systems": systems, "notes": notes}
        if document != found:
            write_json(document, path)

    def system(self, name: str) -> System:
        return next(system for system in self.systems if system.name == name)

    def items(self) -> list[Item]:
        """System by system, so that a pipeline loads once; both stages share them, so a shard scores what it drew."""
        return [(system.name, group) for system in self.systems for group in system.groups(self.cases.cases)]

    def cases_of(self, item: Item) -> list[Case]:
        return [self.cases.cases[index] for index in item[1]]

    def left_to_draw(self) -> list[tuple[str, int]]:
        """(system, number of the case) with a picture missing.

        Raises:
            ValueError: a picture is there with other settings.
        """
        count = self.options.pictures
        return [
            (name, index)
            for name, group in self.items()
            for index in group
            if not is_drawn(self.root, self.system(name), self.cases, self.cases.cases[index], count)
        ]

    def draw(self, item: Item) -> int:
        """Draw an item's missing pictures; their number."""
        system, group = self.system(item[0]), self.cases_of(item)
        if all(is_drawn(self.root, system, self.cases, case, self.options.pictures) for case in group):
            return 0
        if self._loaded is not system:
            self._let_go(system)
            system.load()
            self._loaded = system
        return draw_cases(self.root, system, self.cases, group, self.options.pictures)

    def _let_go(self, coming: System) -> None:
        """Free the last pipeline, unless the coming system shares it or needs none."""
        new = getattr(getattr(coming, "base", coming), "loaded", None)
        if new is not None and self._pipeline not in (None, new):
            self._pipeline.free()
        self._pipeline = new or self._pipeline

    def score(self, item: Item) -> None:
        """Score an item's pictures, unless they are."""
        if self._metrics is None:
            self._metrics = self._make_metrics()
            keep_columns(self.root, self._metrics)
        for case in self.cases_of(item):
            score_case(self.root, item[0], self.cases, case, self.options.pictures, self._metrics)

    def work(self, stage: str) -> Iterator[Item]:
        """Do a stage, "draw" or "score", in this process's share or on Ray; yields each finished item."""
        items = self.items()
        if self.options.engine == "ray":
            make = _RayWorker(self._asked, stage)
            done = run_on_ray(items, make, self.options.workers, self.options.ray_address, self.options.gpus)
        else:
            done = run_here(items, getattr(self, stage), self.share)
        with told_when_full(self.root):
            for item, _ in done:
                yield item
        wait_for_all()

    def pictures_of(self, items: Sequence[Item]) -> int:
        return sum(len(group) for _, group in items) * self.options.pictures

    def items_of_share(self) -> list[Item]:
        items = self.items()
        return items if self.options.engine == "ray" else self.share.part(items)


class _RayWorker:
    """Makes a worker on an actor: the run is opened there anew, from the options as they were asked for."""

    def __init__(self, options: RunOptions, stage: str):
        self.options, self.stage = options, stage

    def __call__(self) -> Callable[[Item], None]:
        return getattr(Run(self.options), self.stage)
