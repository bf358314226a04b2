"""Whose row is it? What image prompts give to the UNet for one call, and which rows of its batch read them.

Shape letters: B rows of one role, P positions, S image tokens of a sample, D layer width, h w latent grid.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch
from diffusers.models.attention_processor import Attention
from diffusers.pipelines.pag.pag_utils import PAGMixin

from .relation_inputs import OTHER_UNET, ImagePromptKwargs  # noqa: F401 (the second for those who look for it here)
from .relation_layouts import AutomaticLayout, acting_calls, open_all, open_rows

# A batch of the UNet is made of equal parts, one for each role, in this or that order. Role → does it read image
# prompts? "perturbed" is the conditional part under perturbed self-attention (PAG), "picture" the part of
# InstructPix2Pix that sees its picture and no prompt.
ROLES = {"unconditional": False, "conditional": True, "perturbed": True, "picture": False}
GUIDED, UNGUIDED = ("unconditional", "conditional"), ("conditional",)
# Pipelines whose batches are known, read in their sources; subclasses count.
_PIPELINES = tuple(
    getattr(diffusers, f"StableDiffusionXL{name}Pipeline")
    for name in (
        "", "Img2Img", "Inpaint", "ControlNet", "ControlNetImg2Img", "ControlNetInpaint", "ControlNetUnion",
        "ControlNetUnionImg2Img", "ControlNetUnionInpaint", "Adapter", "PAG", "PAGImg2Img", "PAGInpaint",
        "ControlNetPAG", "ControlNetPAGImg2Img",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """The call of a pipeline that image prompts are for.

    Attributes:
        prompt: its text, one or a list; None when it has embeddings instead.
        batch_size: number of prompts. images_per_prompt: pictures of each.
        roles, latent_size, calls: as in `Conditioning`.
        lora_scale: the call's `cross_attention_kwargs["scale"]`; None: it has none.
    """

    prompt: str | list[str] | None
    batch_size: int
    images_per_prompt: int
    roles: Callable[[], tuple[str, ...]]
    latent_size: tuple[int, int] | None
    calls: Callable[[], int] | None = None
    lora_scale: float | None = None

    @classmethod
    def of_call(
        cls,
        arguments: Mapping[str, Any],
        roles: Callable[[], tuple[str, ...]],
        calls: Callable[[], int] | None,
        latent_size: tuple[int, int] | None = None,
    ) -> "Drawing":
        """From the `arguments` of an SDXL pipeline's call.

        Raises:
            ValueError: there is neither a prompt nor embeddings, or images for diffusers' IP-Adapter.
        """
        for name in ("ip_adapter_image", "ip_adapter_image_embeds"):
            if arguments.get(name) is not None:
                raise ValueError(
                    f"`{name}` and `image_prompts` cannot act together: both read the parallel branch. Pass one."
                )
        prompt, embeds = arguments.get("prompt"), arguments.get("prompt_embeds")
        if prompt is None and embeds is None:
            raise ValueError("`prompt` must be a text or a list of texts, or `prompt_embeds` be given, got neither.")
        count = embeds.shape[0] if prompt is None else 1 if isinstance(prompt, str) else len(prompt)
        scale = (arguments.get("cross_attention_kwargs") or {}).get("scale")
        return cls(prompt, count, arguments.get("num_images_per_prompt") or 1, roles, latent_size, calls, scale)


@dataclass
class ImagePromptStates:
    """What `ParallelAttnProcessor` reads in one UNet call; as `cross_attention_kwargs` under `ip_hidden_states`, a name
    that diffusers passes on silently to attention layers.

    Attributes:
        layers: {D: (2, layers of width D, B, S, D)}: image K and γ·V of every layer (`RelationAdapter.forward`).
        masks: {P: bool (B, 1, P, S)} (`token_masks`), or an `AutomaticLayout`.
        reads: for each equal part of the batch, in order, whether its B rows read image prompts.
        opened: {P: `open_rows`} for all layers, made here unless given: on a GPU a step costs its number of kernels.
    """

    layers: dict[int, torch.Tensor]
    masks: dict[int, torch.Tensor] | AutomaticLayout
    reads: tuple[bool, ...] = (True,)
    opened: dict[int, tuple[torch.Tensor, torch.Tensor]] | None = None

    def __post_init__(self):
        if self.opened is None and not isinstance(self.masks, AutomaticLayout):
            self.opened = open_all(self.masks, next(iter(self.layers.values())).dtype)


def rows_of_call(
    states: ImagePromptStates, attn: Attention, queries: Sequence[torch.Tensor], text_keys: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """`open_rows` of a layer's call, in the queries' dtype; automatic layout looks at the first reading part, the
    conditional one.

    Args:
        queries, text_keys: (B, H, P or T, d) of every part of the batch.
    Raises:
        ValueError: the layer has a grid that no mask is for.
    """
    positions, dtype = queries[0].shape[2], queries[0].dtype
    if isinstance(states.masks, AutomaticLayout):
        part = states.reads.index(True)
        return open_rows(states.masks.masks_of(attn, queries[part], text_keys[part]), dtype)
    if positions not in states.opened:
        raise ValueError(
            f"image prompts were prepared for attention grids of {', '.join(map(str, states.opened))} positions, but "
            f"the UNet has one of {positions}. Prepare them for this size."
        )
    bias, inside = states.opened[positions]
    return bias.to(dtype), inside.to(dtype)


@dataclass
class Conditioning:
    """Image prompts of one generation; every UNet call opens it to `ImagePromptStates`.

    Attributes:
        unet: the only one that it is for.
        layers: as in `ImagePromptStates`.
        masks_of: (h, w) of the latents → `token_masks` of every attention grid.
        roles: of the parts of a batch; asked at every call, as guidance may end on the way.
        latent_size: (h, w) that every call must have; None: any.
        automatic_layout: box masks and number of UNet calls of the generation → `AutomaticLayout`; None: boxes stay.
        calls: number of UNet calls of the generation; None: unknown.
        first, last: shares of the calls between which image prompts act, as ControlNet's start and end.
    """

    unet: torch.nn.Module
    layers: dict[int, torch.Tensor]
    masks_of: Callable[[int, int], dict[int, torch.Tensor]]
    roles: Callable[[], tuple[str, ...]]
    latent_size: tuple[int, int] | None = None
    automatic_layout: Callable[[dict[int, torch.Tensor], int | None], AutomaticLayout] | None = None
    calls: Callable[[], int] | None = None
    first: float = 0.0
    last: float = 1.0
    is_told: bool = False  # whether a caller said the roles, who may err
    is_checked: bool = False  # whether the UNet's processors and the text were looked at
    _masks: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)  # for `ImagePromptStates`
    _call: int = 0

    def open(self, unet: torch.nn.Module, sample: torch.Tensor) -> ImagePromptStates | None:
        """States for one call of `unet` on the latents `sample`; None while image prompts do not act.

        Raises:
            ValueError: another UNet, another latent size, or another number of rows than the roles make.
        """
        if unet is not self.unet:
            raise ValueError(OTHER_UNET)
        height, width = sample.shape[-2:]
        if self.latent_size not in (None, (height, width)):
            raise ValueError(
                f"image prompts were prepared for latents of height × width {self.latent_size[0]} × "
                f"{self.latent_size[1]}, but the UNet received {height} × {width}. `latent_height` and `latent_width` "
                "must be the picture's height and width divided by `vae_scale_factor`."
            )
        roles = self.roles()
        rows = next(iter(self.layers.values())).shape[2]
        if sample.shape[0] != rows * len(roles):
            raise ValueError(
                f"image prompts were prepared for {rows} {'row' if rows == 1 else 'rows'} (prompts × pictures per "
                f"prompt) of each role ({', '.join(roles)}), {rows * len(roles)} in all, but the UNet received "
                f"{sample.shape[0]}. `batch_size`, `num_images_per_prompt` and `roles` must be those of the pipeline "
                "that draws; `draw_through` works them out."
            )
        if not self._acts():
            return None
        if (height, width) not in self._masks:
            self.place(height, width)
        return ImagePromptStates(self.layers, reads=tuple(ROLES[role] for role in roles), **self._masks[height, width])

    def check_text(self, text: torch.Tensor) -> None:
        """Raise a ValueError when parts of the batch read the same `text`, (batch, T, C), although one is called
        unconditional: without guidance, two pictures have as many rows as the two halves of one."""
        roles = self.roles()
        if self.is_told and "unconditional" in roles:
            parts = dict(zip(roles, text.chunk(len(roles))))
            if torch.equal(parts["unconditional"], parts["conditional"]):
                raise ValueError(
                    "the unconditional and the conditional part read the same text. Without guidance, prepare image "
                    "prompts with `roles=('conditional',)`; `draw_through` finds it out."
                )

    def place(self, height: int, width: int) -> None:
        """Make the masks for latents of this size, before the first call that needs them."""
        masks = self.masks_of(height, width)
        opened = open_all(masks, next(iter(self.layers.values())).dtype)
        if self.automatic_layout is not None:
            masks = self.automatic_layout(masks, None if self.calls is None else self.calls())
        self._masks[height, width] = {"masks": masks, "opened": opened}

    def _acts(self) -> bool:
        if (self.first, self.last) == (0.0, 1.0):
            return True
        self._call += 1
        return self._call - 1 in acting_calls(self.first, self.last, self.calls())


def roles_of(pipeline: diffusers.DiffusionPipeline, arguments: Mapping[str, Any]) -> Callable[[], tuple[str, ...]]:
    """What tells the roles of the parts of `pipeline`'s UNet batches as its state is then.

    Args:
        arguments: of its call; needed of InstructPix2Pix alone, which keeps its guidance nowhere else.
    """
    if isinstance(pipeline, diffusers.StableDiffusionXLInstructPix2PixPipeline):
        guided = arguments["guidance_scale"] > 1 and arguments["image_guidance_scale"] >= 1
        parts = ("conditional", "picture", "unconditional") if guided else UNGUIDED
        return lambda: parts
    # Diffusers' `do_classifier_free_guidance`, asked once about the UNet: torch.compile cannot trace through it.
    is_distilled = pipeline.unet.config.time_cond_proj_dim is not None
    is_perturbing = isinstance(pipeline, PAGMixin)

    def roles() -> tuple[str, ...]:
        parts = UNGUIDED if is_distilled or pipeline.guidance_scale <= 1 else GUIDED
        return (*parts, "perturbed") if is_perturbing and pipeline.do_perturbed_attention_guidance else parts

    return roles


def is_known(pipeline: diffusers.DiffusionPipeline) -> bool:
    """Whether `roles_of` knows pipelines of this kind."""
    return isinstance(pipeline, (*_PIPELINES, diffusers.StableDiffusionXLInstructPix2PixPipeline))


def check_roles(roles: tuple[str, ...]) -> tuple[str, ...]:
    """`roles` as a tuple.

    Raises:
        ValueError: a role is unknown, or none is "conditional".
    """
    roles = (roles,) if isinstance(roles, str) else tuple(roles)
    if not set(roles) <= set(ROLES) or "conditional" not in roles:
        raise ValueError(
            f"`roles` must name the parts of the UNet's batch in order, each one of {', '.join(ROLES)}, and "
            f"'conditional' among them, got {roles!r}."
        )
    return roles
