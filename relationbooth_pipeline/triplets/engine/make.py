"""Candidates made from a plan: targets drawn, their objects cut out, and each drawn again alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...parallel import Share
from ..generators import Generator
from .asking import Manners
from .budget import Budget, Caps
from .candidates import Candidate
from .crops import MaskFinder, crop_objects
from .drawing import Studio
from .generate import draw_targets, drawn_candidates
from .ledger import Ledger
from .plan import Plan
from .same import draw_objects
from .tasks import Tell
from .work_folder import WorkFolder

# In their order; those behind "same" work on candidates that are there.
STAGES = ("generate", "crop", "same")


@dataclass
class Making:
    """A plan with who draws it, checked as a whole before anything is sent or loaded.

    Attributes:
        generator: of targets. same_generator: of objects alone; needs `can_edit`.
        stages: those of `STAGES` that shall run. share: this process's part of the candidates.
    """

    plan: Plan
    generator: Generator
    same_generator: Generator
    caps: Caps
    manners: Manners
    share: Share
    stages: tuple[str, ...] = STAGES

    def __post_init__(self) -> None:
        if "same" in self.stages and not self.same_generator.can_edit:
            raise ValueError(
                f"`{self.same_generator.model}` edits no pictures, so it cannot draw the same object again. Name one "
                "that does with `--same-generator`."
            )
        self.all = self.plan.candidates()
        self.own = self.share.part(self.all)

    def bound(self) -> dict[str, tuple[int, bool]]:
        """Stage → (pictures of the whole plan at most, whether they cost)."""
        objects = sum(len(planned.phrases) for planned in self.all)
        counts = {"generate": (len(self.all), self.generator), "same": (objects, self.same_generator)}
        return {stage: (n, g.is_paid) for stage, (n, g) in counts.items() if stage in self.stages}

    def check_bound(self) -> None:
        """Raise a ValueError for a plan that may exceed the caps."""
        bound = self.bound().values()
        self.caps.check_bound(sum(n for n, _ in bound), sum(n for n, is_paid in bound if is_paid))

    def check_generators(self) -> None:
        """Raise a ValueError for what the generators cannot do, and for addresses where nobody is."""
        if "generate" in self.stages:
            self.generator.check([planned.prompt for planned in self.all])
        if "same" in self.stages:
            templates = self.same_generator.same_templates
            sentences = [self.plan.same_prompt(p, i, templates) for p in self.all for i in range(len(p.phrases))]
            self.same_generator.check(sentences)

    def claimed(self) -> dict:
        """What the work folder is about, for `WorkFolder.claim`."""
        generators = {"generator": self.generator.settings(), "same_generator": self.same_generator.settings()}
        return {"kind": "make", **self.plan.as_record(), **generators}

    def run(
        self, work: WorkFolder, find_masks: MaskFinder | None, tell: Tell, say: Callable[[str], None]
    ) -> list[Candidate]:
        """Do the stages; this process's candidates that are complete.

        Args:
            find_masks: for "crop". tell: told the tally after every picture. say: told a sentence now and then.
        Raises:
            ValueError: as `Studio.draw`. OSError: the disk takes no more. What came is kept, the same call goes on.
        """
        with work.locked(f"shard-{self.share.index}-of-{self.share.count}"):
            if self.share.count == 1:
                work.sweep()
            ledger = Ledger(work.root, self.share)
            if ledger.torn is not None:
                say(f"the ledger's last line was torn ({ledger.torn!r}) and is dropped")
            images, cost = ledger.spent(planned.id for planned in self.own)
            caps = self.caps.shared(len(self.own), len(self.all))
            studio = Studio(work, ledger, Budget(caps, images, cost), self.manners, tell)
            if "generate" in self.stages:
                say(draw_targets(self.plan, self.own, self.generator, studio).words())
            drawn = drawn_candidates(work, self.own)
            if "crop" in self.stages and drawn:
                whole = crop_objects(work, drawn, find_masks)
                say(f"crop: all objects found in {whole} of {len(drawn)} targets")
            if "same" in self.stages and drawn:
                say(draw_objects(self.plan, self.own, drawn, self.same_generator, studio).words())
        return self.own_share().part(work.candidates())

    def own_share(self) -> "OwnCandidates":
        """This process's part of the candidates that are complete, for the stages behind these."""
        return OwnCandidates(self.share.index, self.share.count, frozenset(planned.id for planned in self.own))


@dataclass(frozen=True)
class OwnCandidates(Share):
    """The candidates that a process planned, however many are there already."""

    ids: frozenset[str] = frozenset()

    def part(self, items: Sequence[Candidate]) -> list[Candidate]:
        return [candidate for candidate in items if candidate.id in self.ids]
