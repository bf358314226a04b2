"""Vision-language models of transformers: what they answer about a picture."""

from collections.abc import Callable

import torch
from PIL import Image

from .checkpoints import checkpoint_name

ASK = "{} Please answer Yes or No."


class VisionLanguageModel:
    """Any image-text-to-text model of transformers with a chat template.

    Raises:
        ValueError: the model's first tokens of "Yes" and "No" are the same.
    """

    def __init__(self, source: str, device: str = "cpu"):
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.model = AutoModelForImageTextToText.from_pretrained(source).eval().to(device)
        self.processor = AutoProcessor.from_pretrained(source)
        encode = self.processor.tokenizer.encode
        self.yes, self.no = (encode(word, add_special_tokens=False)[0] for word in ("Yes", "No"))
        if self.yes == self.no:
            raise ValueError(f"`vlm`: `{source}` begins Yes and No with the same token; it cannot be asked.")
        self.checkpoint = checkpoint_name(source, self.model)

    @torch.no_grad()
    def yes_probability(self, picture: Image.Image, question: str) -> tuple[float, float]:
        """(P(Yes) among Yes and No, probability of both together) at the first answered token."""
        logits = self.model(**self._turn(picture, ASK.format(question))).logits[0, -1].float()
        both = logits.softmax(-1)[[self.yes, self.no]]
        return logits[[self.yes, self.no]].softmax(-1)[0].item(), both.sum().item()

    @torch.no_grad()
    def answer(self, picture: Image.Image, text: str, most_tokens: int) -> str:
        """The likeliest answer, token by token, without the prompt; at most `most_tokens` long."""
        inputs = self._turn(picture, text)
        tokens = self.model.generate(**inputs, max_new_tokens=most_tokens, do_sample=False)
        return self.processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()

    def _turn(self, picture: Image.Image, text: str):
        """Inputs of one question about one picture."""
        content = [{"type": "image", "image": picture}, {"type": "text", "text": text}]
        return self.processor.apply_chat_template(
            [[{"role": "user", "content": content}]],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self.model.device)


def vision_language_model(source: str, device: str) -> Callable[[], VisionLanguageModel]:
    """A maker of the model, after its kind is checked."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    try:
        kind = AutoConfig.from_pretrained(source).model_type
    except Exception as error:  # the Hub's client and transformers raise a dozen kinds; the cause is kept
        raise ValueError(f"`vlm`: the model `{source}` has no readable config ({error}). Check the name.") from error
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise ValueError(f"`vlm` needs an image-text-to-text model, but `{source}` is {kind}.")
    return lambda: VisionLanguageModel(source, device)
