"""Cases of training losses: keypoint matching, with the values the reference intended."""

import torch

from training.lora.losses import (
    keypoint_features,
    keypoint_matching_loss,
    predicate_attention_loss,
    predict_clean_latents,
    relation_loss,
    timestep_gate,
)

from .case import Case

WEIGHTS = (0.1, 0.001)


class _Item:
    """Inputs of one recorded item, in our shapes."""

    def __init__(self, case: Case, name: str):
        self.case, self.name = case, name
        keypoints = case.data[f"in.{name}.keypoints"]
        objects = keypoints.shape[1] // 2
        self.target, self.prompt = keypoints[:, :objects], keypoints[:, objects:]
        latents = case.data[f"in.{name}.concept_latents"].permute(0, 1, 4, 2, 3)
        features = keypoint_features(latents.flatten(0, 1), self.prompt.flatten(0, 1))
        self.prompt_features = features.unflatten(0, latents.shape[:2])
        self.output = case.data[f"in.{name}.model_pred"]
        self.visible = torch.ones(self.target.shape[:-1], dtype=torch.bool)
        noise = case.data[f"in.{name}.noise"]
        self.denoising = (self.output - noise).square().mean((1, 2, 3))

    def clean(self, noisy, timesteps):
        schedule = self.case.config["scheduler"]["prediction_type"]
        return predict_clean_latents(noisy, self.output, timesteps, self.case.data["alphas_cumprod"], schedule)

    def keypoint_loss(self, clean):
        return keypoint_matching_loss(clean, self.prompt_features, self.target, self.visible)


def check_kml(case: Case) -> None:
    last = case.config["gate_timestep"]
    for settings in case.config["items"]:
        item = _Item(case, settings["name"])
        for timestep in settings["timesteps"]:
            prefix, t = f"{item.name}.t{timestep}", torch.tensor([timestep])
            clean = item.clean(case.data[f"in.{prefix}.noisy_latents"], t)
            loss, gate = item.keypoint_loss(clean), timestep_gate(t, last)
            case.compare(f"out.{prefix}.mse", item.denoising[0])
            case.compare(f"out.{prefix}.pred_original_sample", clean)
            case.compare(f"out.{prefix}.keypoint_intended_ungated", loss[0])
            if gate.item():
                target = keypoint_features(clean, item.target.flatten(1, 2))[0]
                prompt = item.prompt_features[0].flatten(0, 1)
                case.compare(f"out.{prefix}.gt_keypoint_latents", target)
                case.compare(f"out.{prefix}.concept_keypoint_latents_intended", prompt)
            for weight in WEIGHTS:
                total = relation_loss(item.denoising, [gate * loss], [weight]).mean()
                case.compare(f"out.{prefix}.total_intended_w{weight}", total)
    if "in.batched.timesteps" in case.data:
        item, timesteps = _Item(case, "batched"), case.data["in.batched.timesteps"]
        loss = item.keypoint_loss(item.clean(case.data["in.batched.noisy_latents"], timesteps))
        case.compare("out.batched.keypoint_per_sample_ungated", loss)
        gate = timestep_gate(timesteps, last)
        case.compare("out.batched.gate", gate.to(torch.uint8), tolerance=0)
    maps = sorted(name for name in case.data if name.startswith("in.attn_loss.map"))
    if maps:
        value = predicate_attention_loss([case.data[name] for name in maps], case.data["in.attn_loss.object_segmap"])
        case.compare("out.attn_loss.cross_attention_loss_intended", value[0])
