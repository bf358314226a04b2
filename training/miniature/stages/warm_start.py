"""New models that begin with a trained pipeline's weights: another vocabulary, another size of CLIP's input."""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

TOKEN_EMBEDDING = "token_embedding.weight"
PATCH_EMBEDDING, POSITION_EMBEDDING = "patch_embedding.weight", "position_embedding.weight"


def vae_from(pipeline: Path) -> AutoencoderKL:
    """The autoencoder of a pipeline folder, in float32."""
    return AutoencoderKL.from_pretrained(pipeline, subfolder="vae", torch_dtype=torch.float32)


def start_unet(unet: UNet2DConditionModel, pipeline: Path) -> None:
    """Give a UNet the weights of a pipeline folder's, which is of the same shape."""
    other = UNet2DConditionModel.from_pretrained(pipeline, subfolder="unet", torch_dtype=torch.float32)
    unet.load_state_dict(other.state_dict())


@torch.no_grad()
def start_text_encoders(models, tokenizer, pipeline: Path) -> None:
    """Give (text_encoder, text_encoder_2) the weights of a pipeline folder.

    Words that both vocabularies hold keep their embedding, whatever their number; new ones keep the one they have.
    """
    known = CLIPTokenizer.from_pretrained(pipeline, subfolder="tokenizer").get_vocab()
    both = [(number, known[word]) for word, number in tokenizer.get_vocab().items() if word in known]
    mine, theirs = torch.tensor(both).T
    kinds = (("text_encoder", CLIPTextModel), ("text_encoder_2", CLIPTextModelWithProjection))
    for model, (name, kind) in zip(models, kinds):
        state = kind.from_pretrained(pipeline, subfolder=name, dtype=torch.float32).state_dict()
        for key, weight in model.state_dict().items():
            if key.endswith(TOKEN_EMBEDDING):
                weight[mine] = state[key][theirs]
            else:
                weight.copy_(state[key])


@torch.no_grad()
def start_image_encoder(model: CLIPVisionModelWithProjection, image_encoder: Path) -> None:
    """Give a vision tower the weights of another one that differs in its patches' number and size alone.

    A smaller patch is read as the large one would read it enlarged (bilinear); positions are interpolated (bicubic).
    """
    other = CLIPVisionModelWithProjection.from_pretrained(image_encoder, dtype=torch.float32)
    state, patch = other.state_dict(), model.config.patch_size
    side, other_side = (m.config.image_size // m.config.patch_size for m in (model, other))
    for key, weight in model.state_dict().items():
        value = state[key]
        if key.endswith(PATCH_EMBEDDING):
            # Enlarging is linear in the pixels, so its transpose carries the kernel over.
            pixels = torch.eye(patch * patch).view(patch * patch, 1, patch, patch)
            large = F.interpolate(pixels, value.shape[-2:], mode="bilinear", align_corners=False).flatten(1)
            value = (value.flatten(2) @ large.T).unflatten(-1, (patch, patch))
        elif key.endswith(POSITION_EMBEDDING):
            grid = value[1:].T.reshape(1, -1, other_side, other_side)
            grid = F.interpolate(grid, (side, side), mode="bicubic", align_corners=False)
            value = torch.cat([value[:1], grid.flatten(2)[0].T])
        weight.copy_(value)
