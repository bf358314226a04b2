"""Cases of single parts: resampler, attention, local tokens, the image branch, phrase positions."""

import re

import torch
from diffusers.models.attention_processor import Attention
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from relationbooth_pipeline.relation_adapter import ImageKeyValue
from relationbooth_pipeline.relation_attention import ParallelAttnProcessor
from relationbooth_pipeline.relation_conversion import local_encoder_from_open_clip, resampler_from_released
from relationbooth_pipeline.relation_image_encoder import LocalImageEncoder
from relationbooth_pipeline.relation_layouts import AutomaticLayout, phrase_span, phrase_spans
from relationbooth_pipeline.relation_regions import region_masks, token_masks
from relationbooth_pipeline.relation_resampler import LocalTokenResampler, fourier_embedding
from relationbooth_pipeline.relation_rows import ImagePromptStates

from .case import Case, pixels


def resampler_of(config: dict, released: dict) -> LocalTokenResampler:
    known = {k: v for k, v in config.items() if k != "latent_init_mode"}  # every released adapter has "grounding"
    return resampler_from_released(released, known).eval()


def check_resampler(case: Case) -> None:
    resampler = resampler_of(case.config["resampler"], case.group("image_proj"))
    frequencies = case.config["resampler"]["fourier_freqs"]
    for layout in case.config["layouts"]:
        tag, objects = layout["tag"], layout["refs"]
        image, local, boxes, phrases = (
            case.data[f"in.{tag}.{name}"] for name in ("image_features", "local_tokens", "boxes", "phrase_embeds")
        )
        case.compare(f"out.{tag}.fourier", fourier_embedding(boxes, frequencies))
        case.compare(f"out.{tag}.fourier_zero_boxes", fourier_embedding(torch.zeros_like(boxes), frequencies))
        for flags in layout["drop_grounding_tokens"]:
            name = f"out.{tag}.drop{''.join(map(str, flags))}.tokens"
            drop = torch.tensor(flags, dtype=torch.bool).repeat_interleave(objects)
            case.compare(name, resampler(image, phrases, boxes, None, drop))
            case.compare(f"{name}_with_local", resampler(image, phrases, boxes, local, drop))
        case.compare(f"out.{tag}.zero_boxes.tokens", resampler(image, phrases, torch.zeros_like(boxes)))


class _Layer:
    """The recorded attention layer with our processor, and the split of the reference's one long token sequence."""

    def __init__(self, case: Case):
        config = case.config["attention"]
        self.text, self.background, self.tokens = (config[k] for k in ("text_tokens", "num_dummy_tokens", "num_tokens"))
        dim = config["heads"] * config["dim_head"]
        self.attn = Attention(
            query_dim=config["query_dim"],
            heads=config["heads"],
            dim_head=config["dim_head"],
            cross_attention_dim=config["cross_attention_dim"],
        )
        self.attn.load_state_dict(case.group("attn"))
        self.attn.set_processor(ParallelAttnProcessor())
        self.attn.processor.layer_index = torch.tensor([0])
        self.projection = ImageKeyValue(config["cross_attention_dim"], dim)
        recorded = case.group("ms_adapter")
        index = next(iter(recorded)).split(".")[0]
        self.projection.load_state_dict({f"to_{n}.weight": recorded[f"{index}.to_{n}_ip.weight"] for n in "kv"})

    def __call__(self, hidden, encoder, masks, scales):
        image = encoder[:, self.text + self.background :]
        weights = scales.repeat_interleave(self.tokens)[None, :, None]
        layers = torch.stack([self.projection.to_k(image), self.projection.to_v(image) * weights])[:, None]
        return self.attn(
            hidden,
            encoder_hidden_states=encoder[:, : self.text],
            ip_hidden_states=ImagePromptStates({self.attn.inner_dim: layers}, masks),
        )


def check_attention(case: Case) -> None:
    layer = _Layer(case)
    for item in case.config["cases"]:
        name, side, objects = item["name"], item["grid"], item["n_subjects"]
        hidden, encoder, boxes = (
            case.data[f"in.{name}.{part}"] for part in ("hidden_states", "encoder_hidden_states", "boxes")
        )
        regions = region_masks(boxes, side, side)
        _compare_masks(case, name, "", regions, layer)
        masks = {side * side: token_masks(regions, layer.tokens)}
        for run in item["runs"]:
            scales = torch.tensor(run.get("subject_scales") or [run["scale"]] * objects)
            case.compare(f"out.{name}.{run['name']}", layer(hidden, encoder, masks, scales))
        if f"out.{name}.text_only" in case.data:
            plain = layer.attn(hidden, encoder_hidden_states=encoder[:, : layer.text])
            case.compare(f"out.{name}.text_only", plain)
    _check_automatic(case, layer)


def _compare_masks(case: Case, name: str, suffix: str, regions, layer: _Layer) -> None:
    allowed = token_masks(regions, layer.tokens, layer.background)[:, 0]
    background = ~regions.flatten(2).any(1)
    case.compare(f"out.{name}.image_allowed{suffix}", allowed.to(torch.uint8), tolerance=0)
    case.compare(f"out.{name}.background{suffix}", background.to(torch.uint8), tolerance=0)


class _RecordingLayout(AutomaticLayout):
    """Keeps the maps and the masks of each call for comparison."""

    def masks(self, layer, text_probabilities):
        self.maps = self.phrase_maps(text_probabilities).transpose(1, 2)
        self.allowed = super().masks(layer, text_probabilities)
        return self.allowed


def _check_automatic(case: Case, layer: _Layer) -> None:
    auto = case.config.get("auto")
    if not auto:
        return
    side, boxes, encoder = auto["grid"], case.data["in.auto.boxes"], case.data["in.auto.encoder_hidden_states"]
    masks = {side * side: token_masks(region_masks(boxes, side, side), layer.tokens)}
    spans = case.data["in.auto.phrase_idxes"]
    layout = _RecordingLayout(spans, masks, auto["mask_threshold"], auto["start_step"], layer.tokens)
    scales = torch.tensor(auto.get("subject_scales") or [auto["scale"]] * boxes.shape[1])
    for step in range(auto["calls"]):
        case.compare(f"out.auto.{step}", layer(case.data[f"in.auto.hidden_states.{step}"], encoder, layout, scales))
        case.compare(f"out.auto.text_map.{step}", layout.maps.unflatten(-1, (side, side)))
        if f"out.auto.image_allowed.{step}" in case.data:
            regions = layout.allowed[:, 0, :, :: layer.tokens].transpose(1, 2).unflatten(-1, (side, side))
            _compare_masks(case, "auto", f".{step}", regions, layer)


def check_local_tokens(case: Case) -> None:
    encoder = local_encoder_from_open_clip(case.weights(), head_width=case.config["vision_cfg"]["head_width"])
    images, native = pixels(case.data["in.images_uint8"]), case.config["vision_cfg"]["image_size"]
    side = case.config["run_size"]
    positions = encoder.vision_model.embeddings.interpolate_pos_encoding(
        torch.zeros(1, 1 + (side // encoder.config.patch_size) ** 2, encoder.config.hidden_size), side, side
    )
    case.compare("out.positional_embedding_interpolated", positions[0])
    case.compare("out.dense_local", encoder.dense_features(images))
    case.compare("out.dense_local_native_size", encoder.dense_features(images[..., :native, :native]))
    case.compare("out.dense_projected", encoder.dense_features(images, project=True))
    for name in case.data:
        if found := re.fullmatch(r"out\.(projected_)?local_(\d+)x\2", name):
            case.compare(name, encoder(images, grid=int(found[2]), project=bool(found[1])))
    case.compare("out.local_free", encoder(images, boxes=case.data["in.boxes_free"].expand(len(images), -1, -1)))
    embed = super(LocalImageEncoder, encoder).forward
    case.compare("out.image_embed_native", embed(images[..., :native, :native]).image_embeds)
    case.compare("out.image_embed_large", embed(images, interpolate_pos_encoding=True).image_embeds)


def check_image_encoder(case: Case) -> None:
    config = case.config
    clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**config["clip_vision_config"])).eval()
    clip.load_state_dict(case.group("clip_model"))
    visual = {f"visual.{key}": value for key, value in case.group("clipself_model.visual").items()}
    local = local_encoder_from_open_clip(visual, head_width=config["local_vision_cfg"]["head_width"])
    resampler = resampler_of(config["resampler"], case.group("image_proj"))

    output = clip(pixels(case.data["in.pixel_values_uint8"]).flatten(0, 1), output_hidden_states=True)
    states = output.hidden_states[-2]
    case.compare("out.clip_hidden_states_minus2", states)
    case.compare("out.clip_image_embeds", output.image_embeds)
    tokens = local(pixels(case.data["in.pixel_values_large_uint8"]).flatten(0, 1), grid=config["num_patches"])
    case.compare("out.local_tokens", tokens)
    background, batch = case.weights()["dummy_image_tokens"], config["batch"]
    for name, local_tokens in (("out.image_prompt_embeds", tokens), ("out.image_prompt_embeds.global_only", None)):
        objects = resampler(states, case.data["in.phrase_embeds"], case.data["in.boxes"], local_tokens)
        objects = objects.unflatten(0, (batch, -1)).flatten(1, 2)
        case.compare(name, torch.cat([background.expand(batch, -1, -1), objects], dim=1))


def _offsets(prompt: str, counts: dict[str, int], expected: int) -> list[tuple[int, int]]:
    """Characters of every token of a recorded prompt, start and end token included; a word's tokens share its own."""
    pieces = re.finditer(r"'s|[^\W\d_]+|[^\s\w]+", prompt)  # CLIP splits so before its byte-pair encoding
    offsets = [(0, 0), *(piece.span() for piece in pieces for _ in range(counts.get(piece[0], 1))), (0, 0)]
    if len(offsets) != expected:
        raise ValueError(f"{prompt!r} was recorded with {expected} tokens, not {len(offsets)}.")
    return offsets


def check_phrase_idx(case: Case) -> None:
    """Spans of the reference, but for the phrases that it does not see: in another case, beside other punctuation."""
    encodings = {word: ids[1:-1] for word, ids in case.config["word_encodings"].items()}
    counts = {word: len(ids) for word, ids in encodings.items()}
    for i, item in enumerate(case.config["items"]):
        options, ids = item["kwargs"], item["prompt_input_ids"]
        span = phrase_span(
            item["phrase"],
            item["prompt"],
            _offsets(item["prompt"], counts, len(ids)),
            skip=options.get("num", 0),
            last_word_only=options.get("get_last_word", False),
        )
        label = f"items.{i} {item['phrase']!r}"
        if item["span"] == [0, 0] and span != (0, 0):
            case.compare_exactly(f"{label}, its own tokens", ids[slice(*span)], encodings[item["phrase"].lower()])
        # A skipped occurrence leaves the reference's counter behind; what it should say is recorded in `lists`.
        elif not options.get("num") or span == (0, 0):
            case.compare_exactly(label, list(span), item["span"])
    for i, item in enumerate(case.config["lists"]):
        spans = phrase_spans(
            item["phrases"], item["prompt"], _offsets(item["prompt"], counts, len(item["prompt_input_ids"]))
        )
        case.compare_exactly(f"lists.{i} {item['phrases']}", [list(span) for span in spans], item["spans_intended"])
