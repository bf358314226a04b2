"""What the tests of the commands share: the words and LoRAs of a tiny model laid out as the miniature."""

import torch
from safetensors.torch import save_file

from relationbooth_pipeline import RelationMetadata, write_relation_metadata
from relationbooth_pipeline.relation_attention import cross_attention_layers

PROMPT = "a cat is hugging a plushie bear"
LEFT, RIGHT = "0,0.2,0.55,0.85", "0.5,0.25,1,0.9"
BOXES = [[0.0, 0.1, 0.5, 0.9], [0.5, 0.1, 1.0, 0.9]]
HUG = RelationMetadata("hug", "is hugging", "a {0} is hugging a {1}", 0.7, BOXES)
JUMP = RelationMetadata("jump", "is jumping", "a {0} is jumping", 0.7, BOXES[:1])  # an action of one object


def write_lora(unet, folder, metadata, rank=2):
    """A RelationLoRA of every text cross-attention, with our header."""
    folder.mkdir(parents=True)
    modules, state = dict(unet.named_modules()), {}
    for path in cross_attention_layers(unet):
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            layer = modules[f"{path}.{name}"]
            state[f"unet.{path}.{name}.lora_A.weight"] = torch.randn(rank, layer.in_features)
            state[f"unet.{path}.{name}.lora_B.weight"] = torch.randn(layer.out_features, rank)
    file = folder / "pytorch_lora_weights.safetensors"
    save_file(state, file)
    write_relation_metadata(file, metadata)
    return file


def generate(run, *more, prompt=PROMPT):
    return run("generate", "--prompt", prompt, "--steps", 2, *more)
