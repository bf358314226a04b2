"""`relationbooth app`: the page on which photos, a sentence and boxes become a picture."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from .errors import clean_errors


@clean_errors
def app(
    model: Annotated[str, typer.Option(help="SDXL folder, Hub repository or .safetensors file.")] = "miniature",
    adapter: Annotated[
        str | None, typer.Option(help="Adapter folder or repository; none: without. Default: the model's own.")
    ] = None,
    adapter_weight_name: Annotated[str | None, typer.Option(help="MS-Diffusion's file there: ms_adapter.bin.")] = None,
    image_encoder: Annotated[str | None, typer.Option(help="CLIP vision model of the adapter.")] = None,
    local_image_encoder: Annotated[
        str | None, typer.Option(help="Dense CLIP for local tokens; none: without local tokens.")
    ] = None,
    lora: Annotated[list[str] | None, typer.Option(help="A LoRA to offer, PATH or PATH:WEIGHT; repeat.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="auto (float16; float32 on a CPU), float32, float16 or bfloat16.")
    ] = "auto",
    offload: Annotated[str, typer.Option(help="Low VRAM: none, model or sequential.")] = "none",
    host: Annotated[str, typer.Option(help="Address to listen on; other than this machine's own needs a password.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Default: the first free one from 7860.")] = None,
    password: Annotated[
        str | None, typer.Option(envvar="RELATIONBOOTH_PASSWORD", help="Of the user relationbooth.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Folder that keeps all pictures and their photos. Default: nothing is kept.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Open a page: photos of objects, a sentence and a place for each become a picture."""
    if importlib.util.find_spec("gradio") is None:  # importing it takes seconds: the server does, in its own way
        raise ValueError("the page needs gradio: pip install 'relationbooth[app]'.")
    from ..app.server import serve
    from ..app.studio import Studio

    studio = Studio(
        lora or [],
        model=model,
        adapter=adapter,
        adapter_weight_name=adapter_weight_name,
        image_encoder=image_encoder,
        local_image_encoder=local_image_encoder,
        device=device,
        dtype=dtype,
        offload=offload,
    )
    serve(studio, host, port, password, results, browser, lambda address: typer.echo(f"RelationBooth: {address}"))
