"""Per-subject tuning: DreamBooth-LoRA, Textual Inversion and Custom Diffusion files, as diffusers' scripts write them.

A folder holds a folder for each object, under its name in the cases: `FOLDER/<object>/…`. Custom Diffusion of a pair is
trained together: `FOLDER/<object>+<object>/…`.
"""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ...relation_files import LORA_WEIGHT_NAME, read_checkpoint
from ...relation_layouts import phrase_places
from ..cases import Case, CaseFile
from .loaded import LoadedPipeline
from .relationbooth import lora_digest
from .system import Order, System

WORDS = "learned_embeds.safetensors", "learned_embeds_2.safetensors"  # of the first and second text encoder
CUSTOM_WEIGHTS = "pytorch_custom_diffusion_weights.safetensors"
TOKEN = "sks"  # the rare token of the DreamBooth scripts' own examples


def prompt_with(case: Case, names: Sequence[str]) -> str:
    """The case's prompt with each phrase replaced."""
    prompt = case.prompt
    places = zip(phrase_places(case.phrases, case.prompt), names)
    for place, name in sorted(((place, name) for place, name in places if place), reverse=True):
        prompt = prompt[: place[0]] + name + prompt[place[1] :]
    return prompt


class PerSubject(System):
    """A system with files of its own for every object.

    Args:
        loaded: a pipeline without adapter, which no other system shares: tokens and processors are changed.
        folder: the objects' folders.
    """

    method = ""
    files: tuple[str, ...] = ()

    def __init__(self, name: str, loaded: LoadedPipeline, folder: str | Path):
        super().__init__(name)
        self.loaded, self.folder, self.cases_a_call = loaded, Path(folder), loaded.cases_a_call

    def sources(self, case: Case) -> list[Path]:
        """Folders of the files that draw this case, in the objects' order."""
        return [self.folder / name for name in case.object_names]

    def prepare(self, cases: CaseFile, root: Path) -> None:
        wanted = {source / file: None for case in cases.cases for source in self.sources(case) for file in self.files}
        missing = [str(file) for file in wanted if not file.is_file()]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise ValueError(
                f"the system {self.name!r} lacks {len(missing)} file(s): {', '.join(missing[:5])}{more}. Train them "
                f"with diffusers' script, one folder for each object."
            )

    def settings(self, case: Case) -> dict:
        described = {k: v for k, v in self.loaded.described().items() if k != "adapter"}
        digests = [lora_digest(str(source / file)) for source in self.sources(case) for file in self.files]
        return {"method": self.method, **described, "files": digests}


class DreamBoothLora(PerSubject):
    """A LoRA an object, all of a case's at once; each phrase becomes "sks phrase".

    Args:
        weight: of each LoRA. token: the rare word of `--instance_prompt`.
    """

    method, files = "dreambooth-lora", (LORA_WEIGHT_NAME,)

    def __init__(self, name: str, loaded: LoadedPipeline, folder: str | Path, weight: float = 1.0, token: str = TOKEN):
        super().__init__(name, loaded, folder)
        self.weight, self.token = weight, token

    def settings(self, case: Case) -> dict:
        return {**super().settings(case), "weight": self.weight, "token": self.token}

    def shares_call(self, case: Case) -> Hashable:
        return tuple(self.sources(case))

    def draw(self, orders: Sequence[Order]) -> list[list[Image.Image]]:
        files = dict.fromkeys(str(source / LORA_WEIGHT_NAME) for source in self.sources(orders[0].case))
        self.loaded.activate([(file, self.weight) for file in files])
        named = [(order.case, [f"{self.token} {phrase}" for phrase in order.case.phrases]) for order in orders]
        return self.loaded.call([prompt_with(*pair) for pair in named], [order.seeds for order in orders])


class TextualInversion(PerSubject):
    """A learned word an object, in both text encoders; each phrase becomes that word."""

    method, files = "textual-inversion", WORDS

    def shares_call(self, case: Case) -> Hashable:
        return None

    def draw(self, orders: Sequence[Order]) -> list[list[Image.Image]]:
        words = [[load_word(self.loaded.pipe, source) for source in self.sources(order.case)] for order in orders]
        prompts = [prompt_with(order.case, of_case) for order, of_case in zip(orders, words)]
        return self.loaded.call(prompts, [order.seeds for order in orders])


class CustomDiffusion(PerSubject):
    """K and V of the text cross-attention and a word an object, trained together for a pair.

    diffusers' script is for Stable Diffusion 1; for SDXL the words are kept as Textual Inversion's are.
    """

    method = "custom-diffusion"
    files = (CUSTOM_WEIGHTS,)

    def sources(self, case: Case) -> list[Path]:
        return [self.folder / "+".join(case.object_names)]

    def shares_call(self, case: Case) -> Hashable:
        return self.sources(case)[0]

    def prompt(self, case: Case) -> str:
        """Each word stands before its class noun."""
        source = self.sources(case)[0]
        places = [source / name for name in case.object_names] if len(case.phrases) > 1 else [source]
        words = [load_word(self.loaded.pipe, place) for place in places]
        return prompt_with(case, [f"{word} {phrase}" for word, phrase in zip(words, case.phrases)])

    def prepare(self, cases: CaseFile, root: Path) -> None:
        super().prepare(cases, root)
        for case in cases.cases:
            source = self.sources(case)[0]
            places = [source / name for name in case.object_names] if len(case.phrases) > 1 else [source]
            if missing := [str(p / file) for p in places for file in WORDS if not (p / file).is_file()]:
                raise ValueError(f"the system {self.name!r} lacks the words {', '.join(missing)}.")

    def settings(self, case: Case) -> dict:
        words = [lora_digest(str(file)) for file in sorted(self.sources(case)[0].rglob("learned_embeds*"))]
        return {**super().settings(case), "words": words}

    def draw(self, orders: Sequence[Order]) -> list[list[Image.Image]]:
        pipe, source = self.loaded.pipe, self.sources(orders[0].case)[0]
        prompts = [self.prompt(order.case) for order in orders]
        stock = dict(pipe.unet.attn_processors)
        state = read_checkpoint(source / CUSTOM_WEIGHTS)
        # safetensors drop the empty entries of layers that were not trained, which diffusers counts
        untrained = [name for name in stock if not any(key.startswith(f"{name}.") for key in state)]
        # diffusers 0.42 reads the file and sets nothing unless it is told the pipeline
        pipe.unet.load_attn_procs({**state, **{name: {} for name in untrained}}, _pipeline=pipe)
        try:
            return self.loaded.call(prompts, [order.seeds for order in orders])
        finally:
            pipe.unet.set_attn_processor(stock)


def load_word(pipe: Any, source: Path) -> str:
    """The word of an object's folder, known to both text encoders under a name of its own.

    Scripts call every object's word alike ("<cat-toy>"), so the name is made from the folder.
    """
    word = f"<{source.parent.name}-{source.name}>"
    for file, tokenizer, encoder in (
        (WORDS[0], pipe.tokenizer, pipe.text_encoder),
        (WORDS[1], pipe.tokenizer_2, pipe.text_encoder_2),
    ):
        if word in tokenizer.get_vocab():
            continue
        tensors = read_checkpoint(source / file)
        if len(tensors) != 1:
            raise ValueError(f"`{source / file}` must hold one learned word, got {', '.join(tensors) or 'none'}.")
        pipe.load_textual_inversion(
            {word: next(iter(tensors.values()))}, token=word, tokenizer=tokenizer, text_encoder=encoder
        )
    return pipe.maybe_convert_prompt(word, pipe.tokenizer)
