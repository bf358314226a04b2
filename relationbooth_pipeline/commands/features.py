"""`relationbooth features`: see what the image encoders see in a photo."""

from pathlib import Path
from typing import Annotated

import typer

from .. import __version__, miniature
from .errors import clean_errors
from .terminal import hide_bars

SCALE = 4  # native sides of the local encoder's input in the paper: 896 for 224


@clean_errors
def features(
    image: Annotated[str, typer.Argument(help="A photo; it is stretched to a square, as image prompts are.")],
    image_encoder: Annotated[
        str | None, typer.Option(help="CLIP vision model, folder or repository. Default: the miniature's.")
    ] = None,
    local_image_encoder: Annotated[
        str | None, typer.Option(help="Distilled one, folder or repository. Default: the miniature's.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the input for dense features, pixels. Default: 4 native sides.")
    ] = None,
    output: Annotated[Path, typer.Option(help="PNG: image, image tokens, dense features of both.")] = Path(
        "features.png"
    ),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
) -> None:
    """Draw what the image encoders see: three principal components of their features as colours.

    Alike colours are alike features, within one panel. Dense features should follow the objects' parts.
    """
    import torch

    from ..generation.checks import MAX_SIDE, check_number, check_source, refuse_url
    from ..generation.outputs import check_apart, check_output
    from ..generation.settings import sha256
    from ..relation_images import open_image

    refuse_url("IMAGE", image)
    check_output("--output", output)
    check_apart([("--output", output)], inputs=[image])
    if size is not None:
        check_number("--size", size, 1, MAX_SIDE)
    sources, notes = {"image_encoder": image_encoder, "local_image_encoder": local_image_encoder}, []
    for name, source in sources.items():
        notes.append(f"{name.replace('_', ' ')}: {source or 'the miniature'}")
        if source is None:
            sources[name] = str(miniature.path() / "relation_adapter" / name)
        else:
            check_source(f"--{name.replace('_', '-')}", source)
    picture, seen = open_image(image), {"name": Path(image).name, "sha256": sha256(image)}
    hide_bars()
    from ..generation.sources import resolved_device
    from ..relation_image_encoder import LocalImageEncoder
    from ..relation_loaders import load_model
    from ..sheets.features import feature_panels, feature_sheet
    from ..sheets.png_settings import save_png

    plain, local = (load_model(LocalImageEncoder, source, dtype=torch.float32).eval() for source in sources.values())
    size = SCALE * plain.config.image_size if size is None else size
    for encoder in (plain, local):
        patch = encoder.config.patch_size
        if size < 2 * patch or size % patch:
            raise ValueError(
                f"`--size` must be a multiple of the patch size {patch}, at least {2 * patch}, got {size}."
            )
    try:
        plain, local = (encoder.to(resolved_device(device)) for encoder in (plain, local))
    except (RuntimeError, AssertionError) as error:  # torch's own, for an unknown or absent device
        raise ValueError(f"`--device {device}` cannot be used: {error}") from error
    settings = {"kind": "feature sheet", "image": [seen], "size": size, "relationbooth_version": __version__}
    save_png(feature_sheet(feature_panels(picture, plain, local, size), notes), output, settings)
    typer.echo(str(output))
