"""Relation inversion: a learned word stands for the predicate, beside the adapter (RelationBooth, Table 4)."""

import json
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from ...relation_files import read_checkpoint
from ...relation_layouts import phrase_places
from ..cases import Case, CaseFile
from .loaded import LoadedPipeline
from .relationbooth import RelationBooth, lora_digest, refuse_unused
from .system import Order

KEYS = ("clip_l", "clip_g")  # diffusers' names of SDXL's text encoders in a file of learned words


class RelationWords(RelationBooth):
    """The adapter, with a learned word in place of what each prompt says of the relation.

    Args:
        loaded: a pipeline that no other system shares: words are added to its text encoders.
        table: JSON file {text of the prompts: file}, such as {"is hugging": "hug/learned_relation.safetensors"}, files
            named from the table's folder; a file holds "clip_l" and "clip_g", (V, D) each.
    """

    def __init__(self, name: str, loaded: LoadedPipeline, table: str | Path):
        super().__init__(name, loaded, None)
        self.table, self.files = table, _read_table(Path(table))

    def said(self, case: Case) -> str | None:
        """The text of the prompt that a word replaces: the longest that stands there."""
        there = [text for text in self.files if phrase_places([text], case.prompt)[0]]
        return max(there, key=len, default=None)

    def prepare(self, cases: CaseFile, root: Path) -> None:
        count = sum(self.said(case) is not None for case in cases.cases)
        if not count:
            raise ValueError(
                f"the system {self.name!r} has a word for no prompt of these cases; it replaces: "
                f"{', '.join(map(repr, self.files)) or 'nothing'}."
            )
        used = {self.said(case) for case in cases.all_cases}
        refuse_unused(f"`relation-words:{self.table}`", self.files, used, cases)
        self.note = f"learned word in {count} of {len(cases.cases)} cases"

    def settings(self, case: Case) -> dict:
        text = self.said(case)
        word = None if text is None else [text, lora_digest(str(self.files[text]))]
        return {**super().settings(case), "method": "relation-words", "word": word}

    def shares_call(self, case: Case) -> Hashable:
        return len(case.phrases)

    def order_with_word(self, order: Order) -> Order:
        text = self.said(order.case)
        if text is None:
            return order
        (start, end), prompt = phrase_places([text], order.case.prompt)[0], order.case.prompt
        said = replace(order.case, prompt=prompt[:start] + self._word(text) + prompt[end:])
        return replace(order, case=said)

    def _word(self, text: str) -> str:
        pipe, word = self.loaded.pipe, f"<relation-{list(self.files).index(text)}>"
        tensors = read_checkpoint(self.files[text])
        if set(tensors) != set(KEYS):
            raise ValueError(
                f"`{self.files[text]}` must hold `clip_l` and `clip_g`, got {', '.join(tensors) or 'none'}."
            )
        for key, tokenizer, encoder in (
            (KEYS[0], pipe.tokenizer, pipe.text_encoder),
            (KEYS[1], pipe.tokenizer_2, pipe.text_encoder_2),
        ):
            if word not in tokenizer.get_vocab():
                pipe.load_textual_inversion(tensors[key], token=word, tokenizer=tokenizer, text_encoder=encoder)
        return word

    def draw(self, orders: Sequence[Order]) -> list[list[Image.Image]]:
        return super().draw([self.order_with_word(order) for order in orders])


def _read_table(path: Path) -> dict[str, Path]:
    if not path.is_file():
        raise ValueError(f"`relation-words:` must name a JSON table, got no file `{path}`.")
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
        files = {str(text): path.parent / name for text, name in document.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f'`relation-words:{path}` must be JSON such as {{"is hugging": "hug/learned_relation.safetensors"}}, '
            f"got {error!r}."
        ) from error
    if missing := [str(file) for file in files.values() if not file.is_file()]:
        raise ValueError(f"`relation-words:{path}` names no file: {', '.join(missing)}.")
    return files
