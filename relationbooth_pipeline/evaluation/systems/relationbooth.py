"""Our systems: adapter and RelationLoRA, adapter alone, image prompts that start late, and plain SDXL."""

import json
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ...digests import file_digest
from ...relation_files import LORA_WEIGHT_NAME
from ...relation_regions import read_relation_metadata
from ..cases import Case, CaseFile, case_predicate
from ..cases.predicates import bare_predicate
from .loaded import LoadedPipeline
from .system import Order, System

LATE_START = 5  # steps of plain SDXL before the image prompts act


@dataclass(frozen=True)
class LoraTable:
    """Which RelationLoRA draws which relation.

    Attributes:
        entries: predicate, see `bare_predicate` → (file, weight).
        path: of the table that somebody wrote; None: what lies in a model's folder, whatever the bench.
    """

    entries: dict[str, tuple[str, float]]
    path: Path | None = None

    @classmethod
    def read(cls, path: str | Path) -> "LoraTable":
        """From a JSON file {predicate: file or [file, weight]}; files are named from the table's folder.

        Raises:
            ValueError: no such file, or entries of another kind; a named file that is missing; a predicate twice.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"`lora_table`: no file `{path}`.")
        try:
            document = json.loads(path.read_text(encoding="utf-8-sig"))
            pairs = {k: (v, None) if isinstance(v, str) else (v[0], float(v[1])) for k, v in document.items()}
        except (ValueError, AttributeError, TypeError, IndexError) as error:
            raise ValueError(
                f'`lora_table`: `{path}` must be JSON such as {{"hugging": "hug.safetensors"}} or '
                f'{{"hugging": ["hug.safetensors", 0.8]}}, got {error!r}.'
            ) from error
        entries: dict[str, tuple[str, float]] = {}
        for key, (name, weight) in pairs.items():
            if bare_predicate(key) in entries:
                raise ValueError(
                    f"`lora_table`: `{path}` has two entries for {bare_predicate(key)!r}. Keep one of them."
                )
            entries[bare_predicate(key)] = _weighed(path.parent / name, weight)
        return cls(entries, path)

    @classmethod
    def of_model(cls, folder: Path | None) -> "LoraTable":
        """The RelationLoRAs that lie in a model's folder, each under its header's predicate."""
        entries = {}
        for file in sorted((folder / "relation_loras").glob(f"*/{LORA_WEIGHT_NAME}")) if folder else ():
            metadata = read_relation_metadata(file)
            if metadata is not None:
                entries[bare_predicate(metadata.predicate)] = (str(file), metadata.scale)
        return cls(entries)

    def of_case(self, case: Case) -> tuple[str, float] | None:
        predicate, _ = case_predicate(case)
        return self.entries.get(bare_predicate(predicate)) if predicate else None


def _weighed(file: Path, weight: float | None) -> tuple[str, float]:
    if not file.is_file():
        raise ValueError(f"`lora_table`: no LoRA file `{file}`.")
    metadata = read_relation_metadata(file)
    return str(file), weight if weight is not None else (metadata.scale if metadata else 1.0)


def refuse_unused(table: str, entries: Collection[str], used: Collection, cases: CaseFile) -> None:
    """Raise a ValueError for entries of a table that act in no case of a bench: a slip of the pen, which would leave
    those cases to the adapter alone.

    Args:
        table: what it is called. used: those of the whole bench's cases.
    """
    if unused := [entry for entry in entries if entry not in used]:
        said = sorted({case_predicate(case)[0] or "" for case in cases.all_cases} - {""})
        raise ValueError(
            f"{table} has entries that match no case of this bench: {', '.join(map(repr, unused))}. Its cases say: "
            f"{', '.join(said[:20])}{' …' if len(said) > 20 else ''}. Mend them, or take them out."
        )


def lora_digest(file: str) -> str:
    return file_digest(file)[:16]


class RelationBooth(System):
    """Adapter, and for each relation the RelationLoRA that the table has for it.

    Args:
        loras: None: no RelationLoRA at all, which is MS-Diffusion's method on our code.
        start_step: step from which image prompts act; before it the pipeline is plain SDXL.
    """

    def __init__(self, name: str, loaded: LoadedPipeline, loras: LoraTable | None, start_step: int = 0):
        super().__init__(name)
        self.loaded, self.loras, self.start_step = loaded, loras, start_step
        self.cases_a_call = loaded.cases_a_call
        if not 0 <= start_step < loaded.settings.steps:
            raise ValueError(f"`start_step` must be in [0, {loaded.settings.steps}), got {start_step}.")

    def prepare(self, cases: CaseFile, root: Path) -> None:
        if self.loras is None:
            return
        count = sum(self.loras.of_case(case) is not None for case in cases.cases)
        if not count:
            known = ", ".join(sorted(self.loras.entries)) or "none"
            raise ValueError(
                f"the system {self.name!r} has a RelationLoRA for no predicate of these cases; it has: {known}. Name "
                "them with `--lora-table`, or leave this system out: it would equal `adapter`."
            )
        if self.loras.path is not None:
            used = {bare_predicate(said) for case in cases.all_cases if (said := case_predicate(case)[0])}
            refuse_unused(f"`lora_table`: `{self.loras.path}`", self.loras.entries, used, cases)
        self.note = f"RelationLoRA in {count} of {len(cases.cases)} cases"

    def settings(self, case: Case) -> dict:
        lora = self.lora_of(case)
        return {
            "method": "relationbooth",
            **self.loaded.described(),
            "image_prompt_scale": self.loaded.settings.image_prompt_scale,
            "lora": None if lora is None else [lora_digest(lora[0]), lora[1]],
            "start_step": self.start_step,
        }

    def load(self) -> None:
        if self.loaded.pipe.relation_adapter is None:
            raise ValueError(f"the system {self.name!r} needs an adapter, and the model brings none. Name it.")

    def lora_of(self, case: Case) -> tuple[str, float] | None:
        return self.loras.of_case(case) if self.loras is not None else None

    def shares_call(self, case: Case) -> Hashable:
        return self.lora_of(case), len(case.phrases)

    def draw(self, orders: Sequence[Order]) -> list[list[Image.Image]]:
        lora = self.lora_of(orders[0].case)
        self.loaded.activate([lora] if lora else [])
        pipe, cases = self.loaded.pipe, [order.case for order in orders]
        return self.loaded.call(
            [case.prompt for case in cases],
            [order.seeds for order in orders],
            image_prompts=[list(order.photos) for order in orders],
            phrases=[list(case.phrases) for case in cases],
            boxes=[[list(b) for b in case.boxes] if case.boxes else pipe.layout(len(case.phrases)) for case in cases],
            image_prompt_scale=self.loaded.settings.image_prompt_scale,
            image_prompt_start=self.start_step / self.loaded.settings.steps,
        )


class PlainSDXL(System):
    """The base alone: the prompt, no photo. A floor for identity."""

    def __init__(self, name: str, loaded: LoadedPipeline):
        super().__init__(name)
        self.loaded, self.cases_a_call = loaded, loaded.cases_a_call

    def settings(self, case: Case) -> dict:
        described = self.loaded.described()
        kept = {k: v for k, v in described.items() if k not in ("adapter", "image_encoder", "local_image_encoder")}
        return {"method": "sdxl", **kept}

    def shares_call(self, case: Case) -> Hashable:
        return None

    def draw(self, orders: Sequence[Order]) -> list[list[Image.Image]]:
        self.loaded.activate([])
        return self.loaded.call([order.case.prompt for order in orders], [order.seeds for order in orders])
