"""What is compared: one guided denoising step of plain SDXL, of ours and of diffusers' IP-Adapter, on shared weights.

Shape letters: B batch, N objects, T image tokens, E vision width, C context width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from diffusers import EulerDiscreteScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0, IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import IPAdapterPlusImageProjection, MultiIPAdapterImageProjection

from relationbooth_pipeline import EncodedImagePrompts, RelationAdapter, RelationBoothPipeline
from relationbooth_pipeline.relation_attention import cross_attention_layers, install_parallel_attention
from relationbooth_pipeline.relation_layouts import side_by_side

from .meters import tensor_bytes

TEXT_TOKENS = 77  # CLIP's context length
TIMESTEP = 500  # any: the cost of a step does not depend on it
SCALE = 0.6  # γ (RelationBooth, 4.1)
IP_ADAPTER_TOKENS = 16  # IP-Adapter Plus


@dataclass(frozen=True)
class Size:
    """A UNet of SDXL's shape and what it reads.

    Attributes:
        unet: fields of `UNet2DConditionModel` that differ from size to size.
        latent: side of the latents, in cells.
        dtype: of weights and activations.
        rounds: default number of rounds.
        vision, ip_adapter_vision: (width E, tokens T) of the adapter's and of IP-Adapter's image encoder.
        pooled: widths of the pooled prompt (second text encoder) and of the pooled phrase (first).
        resampler: fields of `LocalTokenResampler`.
    """

    unet: dict
    latent: int
    dtype: torch.dtype
    rounds: int
    vision: tuple[int, int]
    ip_adapter_vision: tuple[int, int]
    pooled: tuple[int, int]
    resampler: dict = field(default_factory=dict)


def _unet_config(channels: tuple, layers: tuple, head_width: int, context: int, pooled: int, time_ids: int) -> dict:
    """SDXL's UNet config at other widths: no attention at the first level, `layers` blocks at the others."""
    return {
        "block_out_channels": channels,
        "transformer_layers_per_block": layers,
        "attention_head_dim": tuple(width // head_width for width in channels),  # the number of heads, in fact
        "cross_attention_dim": context,
        "addition_time_embed_dim": time_ids,
        "projection_class_embeddings_input_dim": 6 * time_ids + pooled,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 2,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
    }


SIZES = {
    "tiny": Size(
        unet=_unet_config((32, 64, 64), (1, 1, 2), head_width=32, context=64, pooled=32, time_ids=8),
        latent=16,
        dtype=torch.float32,
        rounds=40,
        vision=(32, 17),
        ip_adapter_vision=(32, 17),
        pooled=(32, 32),
        resampler={"dim": 32, "heads": 2, "dim_head": 16},
    ),
    "middle": Size(
        unet=_unet_config((128, 256, 512), (1, 2, 4), head_width=64, context=768, pooled=512, time_ids=64),
        latent=32,
        dtype=torch.float32,
        rounds=40,
        vision=(512, 65),
        ip_adapter_vision=(512, 65),
        pooled=(512, 512),
        resampler={"dim": 512, "heads": 8, "dim_head": 64},
    ),
    # SDXL base 1.0 at 512², MS-Diffusion's adapter with CLIP ViT-bigG/14, IP-Adapter Plus SDXL with CLIP ViT-H/14
    "full": Size(
        unet=_unet_config((320, 640, 1280), (1, 2, 10), head_width=64, context=2048, pooled=1280, time_ids=256),
        latent=64,
        dtype=torch.bfloat16,
        rounds=15,
        vision=(1664, 257),
        ip_adapter_vision=(1280, 257),
        pooled=(1280, 768),
    ),
}
SIZES["full_1024"] = replace(SIZES["full"], latent=128)  # the same models at 1024²


@contextmanager
def built_in(dtype: torch.dtype, device: torch.device | str) -> Iterator[None]:
    """Modules made inside have this dtype and device from the start; full SDXL would not fit twice."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def sharing(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A second UNet object with its own attention processors and the same parameters."""
    with torch.device("meta"):
        twin = UNet2DConditionModel.from_config(unet.config)
    twin.load_state_dict(unet.state_dict(), assign=True)
    return twin.eval().requires_grad_(False)


class Comparison:
    """The same random SDXL weights behind three UNet objects: stock, ours, and with IP-Adapter.

    Args:
        size: an entry of `SIZES`.
        device: where everything runs.
        image_prompts: numbers of image prompts to prepare for ours.
        dtype: instead of the size's own.
    """

    def __init__(
        self,
        size: Size,
        device: torch.device | str = "cpu",
        image_prompts: Sequence[int] = (2, 8),
        dtype: torch.dtype | None = None,
        seed: int = 0,
    ):
        torch.manual_seed(seed)
        self.size, self.device, self.dtype = size, torch.device(device), dtype or size.dtype
        with built_in(self.dtype, self.device):
            self.plain = UNet2DConditionModel(sample_size=size.latent, **size.unet).eval().requires_grad_(False)
            self.adapter = RelationAdapter.for_unet(self.plain, size.vision[0], size.pooled[1], size.resampler)
        self.plain.set_attn_processor(AttnProcessor2_0())
        self.ours, self.ip_adapter = sharing(self.plain), sharing(self.plain)
        self.pipe = RelationBoothPipeline(None, None, None, None, None, self.ours, EulerDiscreteScheduler())
        # Image tokens are made up, so the encoder that would make them only has to be there, as a model with a device.
        self.pipe.register_modules(
            relation_adapter=self.adapter.eval().requires_grad_(False), image_prompt_encoder=self.adapter.resampler
        )
        install_parallel_attention(self.ours)
        self.encoded = {count: self._encoded(count) for count in image_prompts}
        self.conditioning = {count: self.project(count) for count in image_prompts}
        self.ip_adapter_bytes = self._install_ip_adapter()
        self._inputs()

    def _encoded(self, count: int) -> EncodedImagePrompts:
        """Random stand-ins for the encoders' output; one prompt with `count` objects and 4×4 local tokens each."""
        width, tokens = self.size.vision
        return EncodedImagePrompts(
            image_tokens=self._random(1, count, tokens, width),
            phrase_embeds=self._random(1, count, self.size.pooled[1]),
            present=torch.ones(1, count, dtype=torch.bool),
            local_tokens=self._random(1, count, 16, width),
        )

    def _random(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=self.device, dtype=self.dtype)

    def _inputs(self) -> None:
        """[unconditional, conditional] inputs of a guided step, as `StableDiffusionXLPipeline` passes them."""
        latent, pixels = self.size.latent, 8.0 * self.size.latent
        self.latents = self._random(1, 4, latent, latent).expand(2, -1, -1, -1).contiguous()
        self.text = self._random(2, TEXT_TOKENS, self.size.unet["cross_attention_dim"])
        ids = torch.tensor([[pixels, pixels, 0, 0, pixels, pixels]] * 2, device=self.device, dtype=self.dtype)
        self.added = {"text_embeds": self._random(2, self.size.pooled[0]), "time_ids": ids}
        self.timestep = torch.tensor(TIMESTEP, device=self.device)

    def _install_ip_adapter(self) -> int:
        """Put an IP-Adapter of Plus size on its UNet object, as `load_ip_adapter` would; bytes of its parameters."""
        width, tokens = self.size.ip_adapter_vision
        context, unet = self.size.unet["cross_attention_dim"], self.ip_adapter
        config = self.adapter.resampler.config
        with built_in(self.dtype, self.device):
            projection = IPAdapterPlusImageProjection(
                width, context, config.dim, config.depth, config.dim_head, config.heads, IP_ADAPTER_TOKENS
            )
            processors = {name: AttnProcessor2_0() for name in unet.attn_processors}
            for path, inner in cross_attention_layers(unet).items():
                # one adapter, one scale per masked image
                processors[f"{path}.processor"] = IPAdapterAttnProcessor2_0(
                    inner, context, (IP_ADAPTER_TOKENS,), [[SCALE, SCALE]]
                )
        before = tensor_bytes(unet)
        unet.set_attn_processor(processors)
        unet.encoder_hid_proj = MultiIPAdapterImageProjection([projection])
        unet.config.encoder_hid_dim_type = "ip_image_proj"
        unet.eval().requires_grad_(False)
        self.ip_adapter_embeds = [self._random(2, 2, tokens, width)]  # (B, images, T, E): negative, positive
        side = 8 * self.size.latent
        masks = torch.zeros(1, 2, side, side, device=self.device, dtype=self.dtype)
        masks[:, 0, :, : side // 2] = masks[:, 1, :, side // 2 :] = 1
        self.ip_adapter_masks = [masks]
        return tensor_bytes(unet) - before + tensor_bytes([self.ip_adapter_embeds, masks])

    @torch.no_grad()
    def project(self, count: int) -> dict:
        """Work of one generation before its first step: resampler, K and V of every layer, masks."""
        return self.pipe.image_prompt_kwargs(
            self.encoded[count],
            boxes=side_by_side(count),
            image_prompt_scale=SCALE,
            latent_height=self.size.latent,
            latent_width=self.size.latent,
        )

    @torch.no_grad()
    def _step(self, unet, conditioning: dict | None = None, added: dict | None = None) -> torch.Tensor:
        return unet(
            self.latents,
            self.timestep,
            encoder_hidden_states=self.text,
            added_cond_kwargs={**self.added, **(added or {})},
            cross_attention_kwargs=conditioning,
            return_dict=False,
        )[0]

    def steps(self) -> dict[str, Callable[[], torch.Tensor]]:
        """Name → one guided step, (2, 4, h, w)."""
        masks, embeds = {"ip_adapter_masks": self.ip_adapter_masks}, {"image_embeds": self.ip_adapter_embeds}
        steps = {"plain": lambda: self._step(self.plain), "ours 0": lambda: self._step(self.ours)}
        for count, conditioning in self.conditioning.items():
            steps[f"ours {count}"] = lambda conditioning=conditioning: self._step(self.ours, conditioning)
        steps["ip-adapter"] = lambda: self._step(self.ip_adapter, masks, embeds)
        return steps

    def held_bytes(self) -> dict[str, int]:
        """Name → bytes that a step needs on the device beside plain SDXL's weights and inputs."""
        ours = {f"ours {count}": tensor_bytes(kwargs) for count, kwargs in self.conditioning.items()}
        return {"plain": 0, "ours 0": 0, **ours, "ip-adapter": self.ip_adapter_bytes}
