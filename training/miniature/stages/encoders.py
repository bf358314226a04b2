"""Stage "encoders": two CLIP text models and a CLIP vision tower that learn to name a character's attributes.

Contrast between pictures and phrases alone learned only colours in the first study, so attribute heads (dropped
afterwards) ask for species, colour, marking and accessory directly, of the vision tower's penultimate states, which
adapters read, and of both texts' pooled outputs.
"""

import random

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from ..world.identities import ACCESSORIES, COLORS, MARKINGS, SPECIES
from ..world.poses import ACTIONS
from ..world.rendering import BACKGROUNDS, IMAGE_SIZE, render
from ..world.splits import held_out_characters, poses_of_kinds, training_character
from ..world.tokenizer import MAX_LENGTH, tokenize, write_tokenizer
from .training_loop import Trainer

WIDTH = 128
ATTRIBUTES = {"species": SPECIES, "color": tuple(COLORS), "marking": MARKINGS, "accessory": ACCESSORIES}
IGNORED = -100  # cross_entropy's own default for targets that do not count
# CLIP's normalisation, the one that every image prompt gets at inference.
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def build_text_encoders(vocabulary_size):
    """text_encoder and text_encoder_2, 0.6 M parameters each; side by side they are the UNet's 256-wide context."""
    common = dict(
        vocab_size=vocabulary_size, hidden_size=WIDTH, intermediate_size=512, num_hidden_layers=3,
        num_attention_heads=4, max_position_embeddings=MAX_LENGTH, projection_dim=WIDTH, hidden_act="gelu",
        bos_token_id=vocabulary_size - 2, eos_token_id=vocabulary_size - 1, pad_token_id=vocabulary_size - 1,
    )  # fmt: skip
    models = CLIPTextModel(CLIPTextConfig(**common)), CLIPTextModelWithProjection(CLIPTextConfig(**common))
    for model in models:
        for name, weight in model.named_parameters():
            # CLIP's own 0.02 gives a cross-attention of this width inputs too small to learn from (second study).
            if "token_embedding" in name:
                nn.init.normal_(weight, std=0.7)
            elif "position_embedding" in name:
                nn.init.normal_(weight, std=0.3)
    return models


def build_image_encoder():
    """The vision tower, 0.9 M parameters, 64 patches of 16 pixels."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=WIDTH, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, image_size=IMAGE_SIZE,
            patch_size=16, projection_dim=WIDTH, hidden_act="gelu",
        )
    )  # fmt: skip


class AttributeHeads(nn.Module):
    """Linear readings of every attribute from the three encoders; needed in training only."""

    def __init__(self):
        super().__init__()
        sizes = {name: len(values) for name, values in ATTRIBUTES.items()}
        sources = {"image": 2 * WIDTH, "text": WIDTH, "text_2": WIDTH}
        self.readings = nn.ModuleDict(
            {
                source: nn.ModuleDict({n: nn.Linear(width, size) for n, size in sizes.items()})
                for source, width in sources.items()
            }
        )
        self.rgb = nn.Linear(2 * WIDTH, 3)
        self.text_projection = nn.Linear(WIDTH, WIDTH)
        self.log_scale = nn.Parameter(torch.tensor(2.3))  # exp = 10; CLIP starts at 14

    def forward(self, source, states):
        return {name: reading(states) for name, reading in self.readings[source].items()}


def attribute_targets(characters, mentioned=None, device=None):
    """{attribute: (B,) class numbers}; unnamed colours and what `mentioned` (a list of sets) leaves out are ignored."""
    targets = {}
    for name, values in ATTRIBUTES.items():
        numbers = []
        for index, character in enumerate(characters):
            value = getattr(character, name)
            counts = value is not None and (mentioned is None or name in mentioned[index])
            numbers.append(values.index(value) if counts else IGNORED)
        targets[name] = torch.tensor(numbers, device=device)
    return targets


def attribute_loss(predictions, targets):
    """Mean over the attributes of the cross-entropy of those that count."""
    losses = [
        F.cross_entropy(predictions[name].float(), target)
        for name, target in targets.items()
        if (target != IGNORED).any()
    ]
    return torch.stack(losses).mean()


def accuracy(predictions, targets):
    """{attribute: share of right readings among those that count}."""
    result = {}
    for name, target in targets.items():
        counts = target != IGNORED
        result[name] = (predictions[name].argmax(-1)[counts] == target[counts]).float().mean().item()
    return result


def random_phrases(characters, rng):
    """Phrases that mention the species and a random part of the rest: (texts, sets of attribute names)."""
    phrases, mentioned = [], []
    for character in characters:
        shown = {"species"} | {name for name in ("color", "marking", "accessory") if rng.random() < 0.6}
        words = [character.color] if "color" in shown and character.color else []
        words += [character.marking] if "marking" in shown and character.marking != "plain" else []
        words.append(character.species)
        if "accessory" in shown and character.accessory != "none":
            words += ["wearing", "a", character.accessory]
        # "red cat" does not say that the cat is plain, so an absent word teaches nothing.
        said = {"species"} | {
            n for n in shown if n != "species" and getattr(character, n) not in (None, "plain", "none")
        }
        phrases.append(" ".join(words))
        mentioned.append(said)
    return phrases, mentioned


def character_image(character, rng, size=IMAGE_SIZE):
    """(S, S, 3) uint8 of one character in a random known action; half of them zoomed, as dense encoding sees them."""
    pose = rng.choice(poses_of_kinds("ab", ACTIONS))
    image = render([character], pose, rng.choice(tuple(BACKGROUNDS)), rng, annotate=False).image
    if rng.random() < 0.5:
        return image
    side = rng.randrange(72, IMAGE_SIZE)
    left, top = (IMAGE_SIZE - side) // 2 + rng.randrange(-8, 9), rng.randrange(0, IMAGE_SIZE - side + 1)
    left = min(max(0, left), IMAGE_SIZE - side)
    cropped = Image.fromarray(image[top : top + side, left : left + side])
    return np.asarray(cropped.resize((size, size), Image.Resampling.BICUBIC))


def clip_tensor(images):
    """(B, 3, S, S), CLIP-normalised, of uint8 pictures."""
    values = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return (values - torch.tensor(CLIP_MEAN).view(1, 3, 1, 1)) / torch.tensor(CLIP_STD).view(1, 3, 1, 1)


def summary(penultimate):
    """Mean and maximum over the patches of (B, T, D) states without the class token: (B, 2D)."""
    return torch.cat([penultimate[:, 1:].mean(1), penultimate[:, 1:].amax(1)], -1)


def contrastive_loss(images, texts, same, log_scale):
    """CLIP's loss with several right answers: `same` (B, B) says which texts hold for which picture."""
    logits = log_scale.exp().clamp(max=100) * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
    rows, columns = same / same.sum(1, keepdim=True), same / same.sum(0, keepdim=True)
    by_image = -(rows * logits.log_softmax(1)).sum(1).mean()
    return (by_image - (columns * logits.log_softmax(0)).sum(0).mean()) / 2


def train_encoders(output_dir, plan, autocast, batch=48, checked=192):
    """Train, or resume, and save tokenizer, both text encoders, image_encoder and the heads to `output_dir`.

    Args:
        checked: characters that each printed accuracy is measured on.
    """
    tokenizer = write_tokenizer(output_dir / "tokenizer")
    torch.manual_seed(plan.seed)
    text, text_2 = build_text_encoders(len(tokenizer))
    vision, heads = build_image_encoder(), AttributeHeads()
    if plan.device == "cpu":
        for model in (text, text_2, vision):
            model.set_attn_implementation("eager")  # torch's fused attention has a slow backward pass on CPUs
    modules = {"text_encoder": text, "text_encoder_2": text_2, "image_encoder": vision, "heads": heads}
    trainer = Trainer(modules, plan, output_dir)

    def outputs(characters, rng):
        images = clip_tensor([character_image(character, rng) for character in characters]).to(plan.device)
        phrases, mentioned = random_phrases(characters, rng)
        ids = tokenize(tokenizer, phrases).to(plan.device)
        with autocast():
            seen = vision(images, output_hidden_states=True)
            first, second = text(ids).pooler_output, text_2(ids).text_embeds
            states = summary(seen.hidden_states[-2])
            predictions = {
                "image": heads("image", states),
                "text": heads("text", first),
                "text_2": heads("text_2", second),
            }
            rgb, projected = heads.rgb(states), heads.text_projection(first)
        full, partial = (attribute_targets(characters, said, plan.device) for said in (None, mentioned))
        targets = {"image": full, "text": partial, "text_2": partial}
        holds = torch.tensor(
            [
                [float(all(getattr(c, n) == getattr(d, n) for n in said)) for d, said in zip(characters, mentioned)]
                for c in characters
            ],
            device=plan.device,
        )
        return seen.image_embeds.float(), second.float(), projected.float(), predictions, targets, rgb.float(), holds

    def loss_of(step, rng):
        characters = [training_character(rng, 0.3) for _ in range(batch)]
        image, second, projected, predictions, targets, rgb, holds = outputs(characters, rng)
        loss = sum(attribute_loss(predictions[source], targets[source]) for source in predictions)
        loss = loss + 3 * F.mse_loss(rgb, torch.tensor([c.rgb for c in characters], device=plan.device) / 255.0)
        for texts in (second, projected):
            loss = loss + 0.3 * contrastive_loss(image, texts, holds, heads.log_scale)
        return loss, {}

    @torch.no_grad()
    def after_interval(step):
        rng = random.Random(30_000_001)
        unseen = held_out_characters()
        for name, draw in (("seen", lambda: training_character(rng)), ("held out", lambda: rng.choice(unseen))):
            _, _, _, predictions, targets, _, _ = outputs([draw() for _ in range(checked)], rng)
            for source in predictions:
                values = accuracy(predictions[source], targets[source])
                print(
                    f"\nencoders step {step}, {name}, {source}: "
                    + ", ".join(f"{k} {v:.3f}" for k, v in values.items()),
                    flush=True,
                )

    finished = trainer.run(loss_of, after_interval)
    for name, module in modules.items():
        module.eval()
        if name != "heads":
            module.save_pretrained(output_dir / name)
    torch.save(heads.state_dict(), output_dir / "heads.pt")
    return finished
