"""Stage "encoders": two CLIP text models and a CLIP vision tower that learn to name a character's attributes.

Contrast between pictures and phrases alone learned only colours in the first study, so attribute heads (dropped
afterwards) ask for the attributes directly: of the vision tower's penultimate states, which adapters read, of its
embedding, which distillation compares, and of both texts' pooled outputs.
"""

import random
import shutil
import tempfile

import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from ..world.proportions import PROPORTIONS, Proportions
from ..world.splits import held_out_characters, training_character
from ..world.tokenizer import MAX_LENGTH, tokenize, write_tokenizer
from .attributes import (
    ATTRIBUTES,
    FINE_ATTRIBUTES,
    IGNORED,
    VISUAL_ATTRIBUTES,
    WIDTH,
    AttributeHeads,
    accuracy,
    attribute_loss,
    attribute_targets,
    summary,
)
from .character_views import character_views, clip_tensor
from .training_loop import Trainer
from .warm_start import start_image_encoder, start_text_encoders


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


def build_image_encoder(proportions: Proportions = PROPORTIONS):
    """The vision tower, 0.8 to 0.9 M parameters."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=WIDTH, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4,
            image_size=proportions.clip_input, patch_size=proportions.clip_patch, projection_dim=WIDTH,
            hidden_act="gelu",
        )
    )  # fmt: skip


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


def contrastive_loss(images, texts, same, log_scale):
    """CLIP's loss with several right answers: `same` (B, B) says which texts hold for which picture."""
    logits = log_scale.exp().clamp(max=100) * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
    rows, columns = same / same.sum(1, keepdim=True), same / same.sum(0, keepdim=True)
    by_image = -(rows * logits.log_softmax(1)).sum(1).mean()
    return (by_image - (columns * logits.log_softmax(0)).sum(0).mean()) / 2


def train_encoders(output_dir, plan, autocast, batch=None, checked=192, proportions=PROPORTIONS, start_from=None):
    """Train, or resume, and save tokenizer, both text encoders, image_encoder and the heads to `output_dir`.

    Args:
        batch: characters a step; None: 48, or half as many where each brings close views of its details.
        checked: characters that each printed accuracy is measured on. proportions: of the vision tower's input.
        start_from: pipeline folder whose weights all three encoders begin with; None: random ones.
    """
    fine = proportions.has_fine_attributes
    batch = batch or (24 if fine else 48)
    tokenizer = write_tokenizer(output_dir / "tokenizer")
    torch.manual_seed(plan.seed)
    text, text_2 = build_text_encoders(len(tokenizer))
    vision, heads = build_image_encoder(proportions), AttributeHeads()
    if start_from is not None:
        start_text_encoders((text, text_2), tokenizer, start_from)
        start_image_encoder(vision, start_from / "relation_adapter" / "image_encoder")
    if plan.device == "cpu":
        for model in (text, text_2, vision):
            model.set_attn_implementation("eager")  # torch's fused attention has a slow backward pass on CPUs
    modules = {"text_encoder": text, "text_encoder_2": text_2, "image_encoder": vision, "heads": heads}
    trainer = Trainer(modules, plan, output_dir)

    def outputs(characters, rng):
        """Phrases of each character against the first view of it; attributes of all views."""
        groups = [
            character_views(character, rng, proportions.clip_input, proportions.portrait) for character in characters
        ]
        views = [view for group in groups for view in group]
        shown = [character for character, group in zip(characters, groups) for _ in group]
        counts = torch.tensor([len(group) for group in groups])
        phrases, mentioned = random_phrases(characters, rng)
        ids = tokenize(tokenizer, phrases)
        ids = ids[:, : (ids != tokenizer.pad_token_id).sum(1).max() + 1].to(plan.device)  # the end token is the pad
        with autocast():
            seen = vision(clip_tensor([view.image for view in views]).to(plan.device), output_hidden_states=True)
            first, second = text(ids).pooler_output, text_2(ids).text_embeds
            states = summary(seen.hidden_states[-2])
            predictions = {
                "image": heads("image", states),
                "embeds": heads("embeds", seen.image_embeds),
                "text": heads("text", first),
                "text_2": heads("text_2", second),
            }
            rgb, projected = heads.rgb(states), heads.text_projection(first)
        visible = attribute_targets(shown, [view.seen for view in views], plan.device, VISUAL_ATTRIBUTES)
        partial = attribute_targets(characters, mentioned, plan.device)
        targets = {"image": visible, "embeds": visible, "text": partial, "text_2": partial}
        colors = torch.tensor([character.rgb for character in shown], device=plan.device) / 255.0
        holds = torch.tensor(
            [
                [float(all(getattr(c, n) == getattr(d, n) for n in said)) for d, said in zip(characters, mentioned)]
                for c in characters
            ],
            device=plan.device,
        )
        images = seen.image_embeds[(counts.cumsum(0) - counts).to(plan.device)].float()
        contrast = [(images, texts.float(), holds) for texts in (second, projected)]
        return predictions, targets, F.mse_loss(rgb.float(), colors), contrast

    def loss_of(step, rng):
        predictions, targets, rgb_loss, contrast = outputs(
            [training_character(rng, 0.3, fine) for _ in range(batch)], rng
        )
        loss = 3 * rgb_loss + sum(0.3 * contrastive_loss(*pair, heads.log_scale) for pair in contrast)
        for source, read in predictions.items():
            for names in (ATTRIBUTES, FINE_ATTRIBUTES):  # each kind by itself: details are the harder half
                asked = {name: target for name, target in targets[source].items() if name in names}
                if any((target != IGNORED).any() for target in asked.values()):
                    loss = loss + attribute_loss(read, asked)
        return loss, {}

    @torch.no_grad()
    def after_interval(step):
        rng = random.Random(30_000_001)
        unseen = held_out_characters(fine)
        for name, draw in (
            ("seen", lambda: training_character(rng, 0.0, fine)),
            ("held out", lambda: rng.choice(unseen)),
        ):
            predictions, targets, _, _ = outputs([draw() for _ in range(checked)], rng)
            for source in predictions:
                values = accuracy(predictions[source], targets[source])
                text_of = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
                print(f"\nencoders step {step}, {name}, {source}: {text_of}", flush=True)

    finished = trainer.run(loss_of, after_interval)
    for name, module in modules.items():
        module.eval()
        if name != "heads":
            module.save_pretrained(output_dir / name)
    torch.save(heads.state_dict(), output_dir / "heads.pt")
    return finished


def grow_vocabulary(output_dir):
    """Write `output_dir`'s tokenizer and text encoders anew with every word of the world.

    What they know stays; new words begin at random, as all do, and stage "base" trains them. The stage's checkpoint
    goes: it belongs to the old vocabulary.
    """
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        size = len(write_tokenizer(folder))
        models = build_text_encoders(size)
        start_text_encoders(models, CLIPTokenizer.from_pretrained(folder), output_dir)
    for name, model in zip(("text_encoder", "text_encoder_2"), models):
        model.eval().save_pretrained(output_dir / name)
    shutil.rmtree(output_dir / "tokenizer")  # what it holds would be loaded instead of the new words
    write_tokenizer(output_dir / "tokenizer")
    (output_dir / "checkpoint.pt").unlink(missing_ok=True)
    return True
