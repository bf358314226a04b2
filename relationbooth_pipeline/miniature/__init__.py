"""The embedded default: a small SDXL-shaped pipeline that was trained on a drawn cartoon world.

weights/                                                        a diffusers SDXL folder
weights/relation_adapter/                                       as written by `save_relation_adapter`
weights/relation_loras/<name>/pytorch_lora_weights.safetensors  RelationLoRAs
weights/references/<phrase>.png                                 held-out characters for the demo
"""

from pathlib import Path


def path() -> Path:
    """Folder of the miniature's weights.

    Raises:
        ValueError: this installation came without them.
    """
    folder = Path(__file__).parent / "weights"
    if not (folder / "model_index.json").is_file():
        raise ValueError(
            f"the miniature's weights are missing: `{folder}` holds no model_index.json. Install the package with its "
            "data (`pip install relationbooth`, or a full clone), or name a model with `--model`."
        )
    return folder
