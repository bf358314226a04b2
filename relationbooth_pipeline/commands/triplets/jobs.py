"""What `annotate` and `make` do with one share of the candidates: words alone, so that it may go to another process.

No key is among them: a generator is made where it draws, and reads its key from the environment there.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .running import told_when_full

if TYPE_CHECKING:
    from ...parallel import Share
    from ...triplets.annotation import Thresholds
    from ...triplets.annotators import Choice
    from ...triplets.engine.asking import Manners
    from ...triplets.engine.budget import Caps
    from ...triplets.engine.make import Making
    from ...triplets.engine.plan import Plan
    from ...triplets.generators import Generator


@dataclass(frozen=True)
class Annotating:
    """The stages find … filter.

    Attributes:
        root: the work folder. names: of annotators, by role. until: the last stage.
    """

    root: Path
    names: dict[str, str]
    device: str
    thresholds: "Thresholds"
    until: str

    def choices(self) -> "dict[str, Choice | None]":
        """The annotators, for this process's device.

        Raises:
            ValueError: one line for each name that is refused.
        """
        from ...generation.sources import resolved_device
        from ...parallel import local_device
        from ...triplets.annotators import choose_all

        return choose_all(self.names, resolved_device(local_device(self.device)))

    def __call__(self, share: "Share") -> list[str]:
        """Do a share quietly; what there is to tell."""
        from ...triplets.annotation import annotate
        from ...triplets.engine import WorkFolder

        work = WorkFolder(self.root)
        with told_when_full(self.root), work.locked(f"shard-{share.index}-of-{share.count}"):
            made = annotate(work, self.choices(), self.thresholds, share, self.until)
        return [f"{self.until}: {made[self.until]} candidates done"]


def annotator_names(annotators: str, own: dict[str, str | None]) -> dict[str, str]:
    """Names by role: those of `--annotators`, and what stands in their places.

    Raises:
        ValueError: no such set.
    """
    from ...triplets.annotators import ALL_MINIATURE, DEFAULTS

    sets = {"photos": DEFAULTS, "miniature": ALL_MINIATURE}
    if annotators not in sets:
        raise ValueError(f"`--annotators` must be photos or miniature, got {annotators!r}.")
    return sets[annotators] | {role: name for role, name in own.items() if name is not None}


@dataclass(frozen=True)
class Painters:
    """Who draws targets, and who draws the same objects alone, as named on the command line."""

    generator: str
    options: dict[str, Any]
    same_generator: str | None
    same_options: dict[str, Any] | None
    base_url: str
    key_variable: str
    device: str
    batch_size: int

    def made(self) -> "tuple[Generator, Generator]":
        """Both generators, one where they are the same; nothing loads.

        Raises:
            ValueError: as `named_generator`.
        """
        from ...triplets.generators import named_generator

        common = {name: getattr(self, name) for name in ("base_url", "key_variable", "device", "batch_size")}
        drawer = named_generator(self.generator, self.options, **common)
        if self.same_generator is None and self.same_options is None:
            return drawer, drawer
        is_one = self.same_options is None and self.same_generator == self.generator
        options = self.options if is_one else self.same_options
        return drawer, named_generator(self.same_generator or self.generator, options, **common)


@dataclass(frozen=True)
class Drawing:
    """The stages generate, crop, same, then `annotating`.

    Attributes:
        stages: of `engine.make.STAGES`, those that shall run. annotating: None where nothing is annotated.
        is_annotated: whether the stages behind them run, or `annotating` only finds what is cut out.
    """

    root: Path
    plan: "Plan"
    painters: Painters
    caps: "Caps"
    manners: "Manners"
    stages: tuple[str, ...]
    annotating: Annotating | None
    is_annotated: bool

    def making(self, share: "Share") -> "Making":
        """The plan with its generators, checked as far as can be without loading."""
        from ...triplets.engine.make import Making

        return Making(self.plan, *self.painters.made(), self.caps, self.manners, share, self.stages)

    def __call__(self, share: "Share") -> list[str]:
        """Do a share quietly; what there is to tell."""
        from ...triplets.annotation.target_masks import TargetMasks
        from ...triplets.engine import WorkFolder

        making, work, said = self.making(share), WorkFolder(self.root), []
        if self.stages:
            find_masks = None
            if "crop" in self.stages:
                choices = self.annotating.choices()
                find_masks = TargetMasks(work, choices["boxes"], choices["masks"], lambda stage, done, count: None)
            with told_when_full(self.root):
                making.run(work, find_masks, lambda tally: None, said.append)
        return said + (self.annotating(making.own_share()) if self.is_annotated else [])

    def among(self, count: int) -> "Drawing":
        """The job of one of `count` processes that draw at the same time: all together keep the manners."""
        return replace(self, manners=self.manners.shared(count))
