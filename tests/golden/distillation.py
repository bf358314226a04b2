"""Case of CLIPSelf: loss, gradients, grids and averaging."""

import torch

from relationbooth_pipeline import LocalImageEncoder
from relationbooth_pipeline.relation_conversion import local_encoder_from_open_clip
from training.encoder.distillation import average_weights, crop_distillation_loss, grid_cells, grid_choices

from .case import SINGLE, Case, pixels


def _open_clip_gradient(encoder: LocalImageEncoder, key: str) -> torch.Tensor:
    """Gradient of a weight under its open_clip name."""
    outer = {
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.proj": "visual_projection.weight",
    }
    inner = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    parameters = dict(encoder.named_parameters())
    if key in outer:
        gradient = parameters[outer[key]].grad
        return gradient.T if key == "visual.proj" else gradient
    if "resblocks" not in key:
        name = key.replace("visual.ln_pre", "vision_model.pre_layrnorm").replace(
            "visual.ln_post", "vision_model.post_layernorm"
        )
        return parameters[name].grad
    _, _, _, index, rest = key.split(".", 4)
    layer = f"vision_model.encoder.layers.{index}."
    if rest.startswith("attn.in_proj_"):
        kind = rest.removeprefix("attn.in_proj_")
        parts = [parameters[f"{layer}self_attn.{p}_proj.{kind}"] for p in "qkv"]
        return torch.cat([torch.zeros_like(p) if p.grad is None else p.grad for p in parts])
    rest = rest.replace("attn.out_proj", "self_attn.out_proj")
    for released, ours in inner.items():
        rest = rest.replace(released, ours)
    return parameters[layer + rest].grad


@torch.enable_grad()
def check_clipself(case: Case) -> None:
    student_features = case.data["in.features.student"].clone().requires_grad_()
    loss = crop_distillation_loss(student_features, case.data["in.features.teacher"])
    loss.backward()
    case.compare("out.features.loss", loss.detach())
    case.compare("out.features.grad_student", student_features.grad)

    head_width = case.config["vision_cfg"]["head_width"]
    weights = {name: case.group(name) for name in ("student", "teacher")}
    student, teacher = (local_encoder_from_open_clip(w, head_width=head_width) for w in weights.values())
    boxes = case.data["in.model.boxes"]
    valid = boxes[..., 4] > 0.5
    regions = student(pixels(case.data["in.model.images_uint8"]), boxes=boxes[..., :4], project=True)[valid]
    with torch.no_grad():
        embed = super(LocalImageEncoder, teacher).forward
        crops = embed(pixels(case.data["in.model.crops_uint8"])[valid]).image_embeds
    case.compare("out.model.student_roi_features", regions.detach())
    expected = case.data["out.model.teacher_crop_features"]
    unit = torch.nn.functional.normalize
    # Only directions matter to the loss; whether the recorded crops have unit length is the recorder's choice.
    case.compare("out.model.teacher_crop_features", unit(crops, dim=-1), expected=unit(expected, dim=-1))
    loss = crop_distillation_loss(regions, crops)
    loss.backward()
    case.compare("out.model.loss", loss.detach())
    for name in case.data:
        if name.startswith("out.model.grad."):
            case.compare(name, _open_clip_gradient(student, name.removeprefix("out.model.grad.")))
        elif name.startswith("out.model.grad_norm."):
            case.compare(name, _open_clip_gradient(student, name.removeprefix("out.model.grad_norm.")).norm())
        elif name.startswith("out.grid_boxes."):
            rows, columns = map(int, name.rsplit(".", 1)[1].split("x"))
            case.compare(name, grid_cells(rows, columns), SINGLE)
        elif name.startswith("out.ensemble"):
            average = average_weights(weights["student"], weights["teacher"], case.config["ensemble_alpha"])
            case.compare(name, average[name.split(".", 2)[2]])
    case.compare_exactly("grid choices", [list(c) for c in grid_choices()], case.config["grid_choices_max_split_6"])
