"""Cases of the whole UNet: single forwards and guided loops, with and without RelationLoRA."""

import diffusers
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from relationbooth_pipeline import EncodedImagePrompts, RelationAdapter, RelationBoothPipeline
from relationbooth_pipeline.relation_attention import install_parallel_attention, prepare_parallel_attention
from relationbooth_pipeline.relation_conversion import adapter_from_released
from relationbooth_pipeline.relation_rows import GUIDED, UNGUIDED

from .case import LOOP, Case


class Scene:
    """UNet, adapter and inputs of a `pipeline` case, run through `RelationBoothPipeline`."""

    def __init__(self, case: Case):
        self.case, self.config = case, case.config
        self.unet = UNet2DConditionModel(**self.config["unet"]).eval()
        self.unet.load_state_dict(case.weights("unet"))
        dim_head = self.config["resampler"]["dim_head"]
        self.adapter: RelationAdapter = adapter_from_released(
            case.weights("ms_adapter"), self.unet, dim_head=dim_head
        ).eval()
        scheduler = getattr(diffusers, self.config["scheduler_class"])(**self.config["scheduler"])
        self.pipe = RelationBoothPipeline(None, None, None, None, None, self.unet, scheduler)
        self.pipe.register_modules(relation_adapter=self.adapter)  # image tokens are recorded: no encoder needed
        self.pipe.set_progress_bar_config(disable=True)
        install_parallel_attention(self.unet)
        prepare_parallel_attention(self.unet, "cpu")

    def input(self, name: str) -> torch.Tensor:
        return self.case.data[f"in.{name}"]

    @property
    def encoded(self) -> EncodedImagePrompts:
        count = self.input("boxes").shape[1]
        tokens, phrases = self.input("image_features"), self.input("phrase_embeds")
        return EncodedImagePrompts(tokens[None], phrases[None], torch.ones(1, count, dtype=torch.bool))

    def conditioning(self, scale, roles: tuple[str, ...] = UNGUIDED) -> dict:
        height, width = self.input("noisy_latents").shape[-2:]
        return self.pipe.image_prompt_kwargs(
            self.encoded,
            boxes=self.input("boxes")[0],
            image_prompt_scale=scale,
            latent_height=height,
            latent_width=width,
            roles=roles,
        )

    def forward(self, conditioning: dict | None, guided: bool = False) -> torch.Tensor:
        """One UNet forward at the recorded timestep; `guided` puts the unconditional row first."""
        names = ("negative_", "") if guided else ("",)
        text = torch.cat([self.input(f"{n}prompt_embeds") for n in names])
        pooled = torch.cat([self.input(f"{n}pooled_prompt_embeds") for n in names])
        rows = len(names)
        return self.unet(
            self.input("noisy_latents").expand(rows, -1, -1, -1),
            self.config["forward_timestep"],
            encoder_hidden_states=text,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": self.input("time_ids").expand(rows, -1)},
            cross_attention_kwargs=conditioning,
        ).sample

    def loop(self, guidance: float, conditioning: dict | None = None, **image_prompts) -> list[torch.Tensor]:
        """Latents after every step of the recorded schedule, the last of them final."""
        steps = []

        def keep(pipe, step, timestep, kwargs):
            steps.append(kwargs["latents"].clone())
            return kwargs

        ids = self.input("time_ids")[0].int().tolist()
        names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
        height, width = (side * self.pipe.vae_scale_factor for side in self.input("latents_unit").shape[-2:])
        self.pipe(
            **{name: self.input(name) for name in names},
            latents=self.input("latents_unit"),
            height=height,
            width=width,
            original_size=tuple(ids[:2]),
            crops_coords_top_left=tuple(ids[2:4]),
            target_size=tuple(ids[4:]),
            num_inference_steps=self.config["steps"],
            guidance_scale=guidance,
            output_type="latent",
            callback_on_step_end=keep,
            cross_attention_kwargs=conditioning,
            **image_prompts,
        )
        return steps

    def compare_loop(self, case: Case, name: str, steps: list[torch.Tensor]) -> None:
        for i, latents in enumerate(steps):
            if f"{name}.step{i}.latents" in case.data:
                case.compare(f"{name}.step{i}.latents", latents, LOOP)
        case.compare(f"{name}.final", steps[-1], LOOP)

    @property
    def image_prompts(self) -> dict:
        boxes = self.input("boxes")[0]
        return {"image_prompts": self.encoded, "boxes": boxes, "image_prompt_scale": self.config["scale"]}


def _tag(guidance: float) -> str:
    return f"cfg{round(guidance * 10):03d}"


def check_pipeline(case: Case) -> None:
    scene, config = Scene(case), case.config
    encoded, boxes = scene.encoded, scene.input("boxes")
    tokens = scene.adapter.resampler(encoded.image_tokens[0], encoded.phrase_embeds[0], boxes[0])
    case.compare("out.image_tokens", tokens)
    case.compare(
        "out.image_prompt_embeds", torch.cat([scene.adapter.background_tokens, tokens.flatten(0, 1)[None]], dim=1)
    )
    scale = config["scale"]
    case.compare(f"out.unet.scale{round(scale * 100):03d}", scene.forward(scene.conditioning(scale)))
    case.compare("out.unet.scale100", scene.forward(scene.conditioning(1.0)))
    case.compare("out.unet.subject_scales", scene.forward(scene.conditioning(config["subject_scales"])))
    case.compare("out.unet.cfg_batch", scene.forward(scene.conditioning(scale, GUIDED), guided=True))
    case.compare("out.unet.text_only_cfg_batch", scene.forward(None, guided=True))

    for guidance in config["guidance_scales"]:
        scene.compare_loop(case, f"out.loop.{_tag(guidance)}", scene.loop(guidance, **scene.image_prompts))
    case.compare("out.loop.timesteps", scene.pipe.scheduler.timesteps.to(case.data["out.loop.timesteps"].dtype))
    case.compare("out.loop.sigmas", scene.pipe.scheduler.sigmas)
    if auto := config.get("auto_layout"):
        conditioning = scene.conditioning(scale, GUIDED if auto["guidance_scale"] > 1 else UNGUIDED)
        given = conditioning["ip_hidden_states"]  # the phrases' spans are recorded, there is no tokenizer
        given.automatic_layout = lambda masks, calls: scene.adapter.automatic_layout(
            scene.input("phrase_idxes")[-1:], masks, auto["mask_threshold"], auto["start_step"]
        )
        given.place(*scene.input("latents_unit").shape[-2:])
        name = f"out.loop.auto_{_tag(auto['guidance_scale'])}"
        scene.compare_loop(case, name, scene.loop(auto["guidance_scale"], conditioning))
    for name in case.data:
        if name.startswith("out.loop.text_only_cfg"):
            guidance = float(name.removeprefix("out.loop.text_only_cfg").removesuffix(".final")) / 10
            case.compare(name, scene.loop(guidance)[-1], LOOP)


def check_relation_lora(case: Case) -> None:
    scene = Scene(Case(case.folder.parent / case.config["uses_case"]))
    pipe, scale = scene.pipe, scene.config["scale"]
    file = "pytorch_lora_weights.safetensors"
    case.compare_exactly("number of tensors", len(load_file(case.folder / file)), case.config["num_tensors"])
    pipe.load_lora_weights(str(case.folder), weight_name=file, adapter_name="relation")
    case.compare("out.unet.lora_and_adapter", scene.forward(scene.conditioning(scale)))
    half = scene.forward({**scene.conditioning(scale), "scale": 0.5})
    case.compare("out.unet.lora_scale050_and_adapter", half)
    case.compare("out.unet.lora_only_text", scene.forward(None))
    for name in case.data:
        if name.startswith("out.loop.cfg") and name.endswith(".final"):
            tag = name.split(".")[2]
            steps = scene.loop(float(tag.removeprefix("cfg")) / 10, **scene.image_prompts)
            scene.compare_loop(case, f"out.loop.{tag}", steps)
    pipe.unload_lora_weights()
    case.compare("out.unet.lora_disabled", scene.forward(scene.conditioning(scale)))
