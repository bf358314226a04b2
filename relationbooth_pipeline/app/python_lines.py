"""The lines of Python that draw the same picture."""

from .. import miniature
from .form import reference_name


def python_lines(settings: dict) -> str:
    """A program for the settings of a written picture; the references lie beside it under their own names."""
    is_small = settings["model"] == "miniature"
    lines = [
        "import torch",
        f"from relationbooth_pipeline import RelationBoothPipeline{', miniature' if is_small else ''}",
    ]
    masks = settings["mask"] if any(settings.get("mask") or []) else None
    if masks:
        lines.append("from relationbooth_pipeline.generation.masks import box_mask, open_mask")
    lines.append("")
    if is_small:
        lines += ["folder = miniature.path()", "pipe = RelationBoothPipeline.from_pretrained(folder)"]
    else:
        dtype = settings["dtype"] if settings["dtype"] != "auto" else "float16"
        single_file = settings["model"].endswith(".safetensors")
        load, named = ("from_single_file", "torch_dtype") if single_file else ("from_pretrained", "dtype")
        lines += [f"pipe = RelationBoothPipeline.{load}({settings['model']!r}, {named}=torch.{dtype})"]
    if settings["image"]:
        lines += _adapter(settings, is_small)
    names = []
    for i, (source, _) in enumerate(settings["lora"]):
        names.append(f"lora_{i}")
        own = is_small and (miniature.path() / "relation_loras" / source).is_dir()
        place = f'folder / "relation_loras" / {source!r}' if own else repr(source)
        lines.append(f'pipe.load_lora_weights({place}, adapter_name="lora_{i}")')
    if names:
        lines.append(f"pipe.set_adapters({names!r}, {[weight for _, weight in settings['lora']]!r})")
    if not is_small:
        lines.append('pipe.to("cuda")')
    lines += ["image = pipe(", f"    {settings['prompt']!r},"]
    for name, value in _arguments(settings, masks).items():
        lines.append(f"    {name}={value},")
    lines += [")" + ".images[0]", 'image.save("picture.png")']
    return "\n".join(lines) + "\n"


def _adapter(settings: dict, is_small: bool) -> list[str]:
    if settings["adapter"] is not None:
        given = [repr(settings["adapter"])]
        if settings["adapter_weight_name"]:
            given.append(f"weight_name={settings['adapter_weight_name']!r}")
        for name in ("image_encoder", "local_image_encoder"):
            if settings[name] is not None:
                given.append(f"{name}={None if settings[name] == 'none' else settings[name]!r}")
        lines = [f"pipe.load_relation_adapter({', '.join(given)})"]
    else:
        lines = ['pipe.load_relation_adapter(folder / "relation_adapter")'] if is_small else []
    return lines if settings["local_tokens"] else [*lines, "pipe.register_modules(local_image_encoder=None)"]


def _arguments(settings: dict, masks: list | None) -> dict[str, str]:
    size = (settings["width"], settings["height"])
    arguments = {}
    if settings["image"]:
        arguments["image_prompts"] = repr([reference_name(reference) for reference in settings["image"]])
        arguments["phrases"] = repr(settings["phrase"])
        if settings["automatic_layout"]:
            arguments["automatic_layout"] = "True"
        elif masks:
            parts = [
                f"open_mask({m['name'] if isinstance(m, dict) else m!r})" if m else f"box_mask({b!r}, {size})"
                for m, b in zip(masks, settings["box"])
            ]
            arguments["masks"] = f"[{', '.join(parts)}]"
        else:
            arguments["boxes"] = f"[{''.join(chr(10) + ' ' * 8 + repr(box) + ',' for box in settings['box'])}\n    ]"
        arguments["image_prompt_scale"] = repr(settings["image_prompt_scale"])
    if settings["negative_prompt"]:
        arguments["negative_prompt"] = repr(settings["negative_prompt"])
    arguments |= {"width": str(size[0]), "height": str(size[1]), "num_inference_steps": str(settings["steps"])}
    for name in ("guidance_scale", "guidance_rescale"):
        arguments[name] = repr(settings[name])
    arguments["generator"] = f'torch.Generator("cpu").manual_seed({settings["seed"]})'
    return arguments
