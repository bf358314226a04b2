"""`relationbooth convert`: MS-Diffusion's adapter, open_clip's and CLIPSelf's vision towers, LoRAs → our folders."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import clean_errors
from .terminal import hide_bars

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

# Shape of SDXL base 1.0's UNet, its unet/config.json without what the adapter's layers do not depend on.
SDXL_UNET = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


def empty_unet(source: str | None) -> "UNet2DConditionModel":
    """A UNet without weights (on the meta device): SDXL's, or of the base or UNet that `source` names."""
    import torch
    from diffusers import UNet2DConditionModel

    from ..generation.checks import check_source

    config = SDXL_UNET
    if source is not None:
        check_source("--unet", source)
        folder = Path(source)
        inner = None if folder.is_dir() and not (folder / "unet").is_dir() else "unet"
        try:
            config = UNet2DConditionModel.load_config(source, subfolder=inner)
        except OSError as error:
            raise ValueError(f"`--unet`: no UNet config in `{source}` ({error}).") from error
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(config)


def convert_checkpoint(
    source: Path,
    output: Path,
    unet: str | None = None,
    image_encoder: str | None = None,
    local_image_encoder: str | None = None,
) -> str:
    """Convert `source` to a new folder `output`, whole or not at all.

    What the file is, is read off its keys.

    Args:
        unet: see `empty_unet`; for adapters.
        image_encoder, local_image_encoder: repositories that the adapter's config shall name.
    Returns:
        One sentence about what was written.
    Raises:
        ValueError: `output` is not free or cannot be written, `source` is something else, damaged, or does not fit.
    """
    from ..exchange.kohya import is_lora, write_both
    from ..generation.outputs import check_place
    from ..relation_conversion import adapter_from_released, local_encoder_from_open_clip
    from ..relation_files import read_checkpoint, whole_folder
    from .file_kinds import check_checkpoint
    from .summary import summary

    check_place("OUTPUT", output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"`{output}` exists already. Choose a new or empty folder.")
    check_checkpoint(source)
    checkpoint = read_checkpoint(source)
    keys = {str(key) for key in checkpoint}
    if is_lora(keys):
        if image_encoder or local_image_encoder:
            raise ValueError(f"`{source}` is a LoRA: `--…-encoder` belongs to adapters.")
        with whole_folder(output) as fresh:
            names = write_both(source, fresh, empty_unet(unet))
        return f"{output}: LoRA, as {names[0]} for diffusers and {names[1]} for ComfyUI, A1111 and Forge"
    inner = checkpoint.get("state_dict", checkpoint)
    if any(key.partition(".")[0] == "image_proj" for key in keys):
        model = adapter_from_released(checkpoint, empty_unet(unet), source=f"`{source}`")
        named = {"image_encoder": image_encoder, "local_image_encoder": local_image_encoder}
        model.register_to_config(**{name: value for name, value in named.items() if value is not None})
        kind, count = "relation adapter", len(model.config.layer_widths)
        told = f"{count} layers, {model.tokens_per_object} tokens per object"
    elif isinstance(inner, dict) and any("visual." in str(key) for key in inner):
        if unet or image_encoder or local_image_encoder:
            raise ValueError(f"`{source}` is an image encoder: `--unet` and `--…-encoder` belong to adapters.")
        model = local_encoder_from_open_clip(checkpoint, source=f"`{source}`")
        kind = "local image encoder"
        told = f"width {model.config.hidden_size}, {model.config.num_hidden_layers} layers"
    else:
        raise ValueError(
            f"`{source}` is neither MS-Diffusion's adapter (groups image_proj, …) nor an open_clip checkpoint "
            f"(visual.…), but: {summary(source)['kind']}; its first keys are {sorted(keys)[:3]}."
        )
    with whole_folder(output) as fresh:
        model.save_pretrained(fresh)
    return f"{output}: {kind}, {told}"


@clean_errors
def convert(
    source: Annotated[
        Path, typer.Argument(help="ms_adapter.bin, an open_clip / CLIPSelf checkpoint, or a LoRA, ours or kohya-keyed.")
    ],
    output: Annotated[Path, typer.Argument(help="New folder.")],
    unet: Annotated[
        str | None, typer.Option(help="Folder or repository of the base. Default: SDXL base 1.0's shape.")
    ] = None,
    image_encoder: Annotated[
        str | None, typer.Option(help="Repository that the adapter's config will name. Default: none.")
    ] = None,
    local_image_encoder: Annotated[
        str | None, typer.Option(help="As image-encoder, for local tokens. Default: none.")
    ] = None,
) -> None:
    """Bring an adapter, a CLIPSelf checkpoint or a LoRA into our folders; a LoRA with its kohya-keyed twin."""
    hide_bars()
    typer.echo(convert_checkpoint(source, output, unet, image_encoder, local_image_encoder))
