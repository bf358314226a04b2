"""The preview shows what the autoencoder would."""

import base64
import io

import numpy as np
import torch
from PIL import Image

from .conftest import PHOTOS


def test_a_preview_looks_like_the_picture_of_its_latents(studio):
    photo = Image.open(PHOTOS[0]).convert("RGB").resize((128, 128))
    vae = studio.pipe.vae
    pixels = torch.tensor(np.asarray(photo)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        latents = vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor
    url = studio.preview.data_url(latents)
    kind, _, data = url.partition(";base64,")
    shown = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (
        kind == "data:image/jpeg" and max(shown.size) == 192 and len(url) < 16_000
    )  # it goes over four times a second
    small = [np.asarray(picture.resize((16, 16), Image.Resampling.BOX)).astype(float) for picture in (shown, photo)]
    likeness = [np.corrcoef(small[0].ravel(), other.ravel())[0, 1] for other in (small[1], small[1].transpose(1, 0, 2))]
    assert likeness[0] > 0.85 and likeness[1] < 0.6
