"""Generators that load models: diffusers' pipelines and this project's own, as tiny real builds."""

import shutil

import pytest
import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline, Flux2Transformer2DModel
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from relationbooth_pipeline.triplets.generators import Request, named_generator
from tests.tiny import photo, tiny_pipeline

SIZE = (64, 64)
KLEIN = {"num_inference_steps": 2, "text_encoder_out_layers": [1], "max_sequence_length": 64}


def tiny_klein():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate([*letters, *special])}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=special[0], eos_token=special[2])
    words = "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    tokenizer.chat_template = f"{{% for message in messages %}}{words}{{% endfor %}}"
    torch.manual_seed(0)
    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKLFlux2(
            block_out_channels=(4,),
            down_block_types=("DownEncoderBlock2D",),
            up_block_types=("UpDecoderBlock2D",),
            layers_per_block=1,
            latent_channels=1,
            norm_num_groups=1,
            use_quant_conv=False,
            use_post_quant_conv=False,
            sample_size=32,
        ),
        text_encoder=Qwen3ForCausalLM(
            Qwen3Config(
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                vocab_size=len(tokenizer) + 8,
                max_position_embeddings=512,
            )
        ),
        tokenizer=tokenizer,
        transformer=Flux2Transformer2DModel(
            patch_size=1,
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            timestep_guidance_channels=256,
            axes_dims_rope=[4, 4, 4, 4],
            guidance_embeds=False,
        ),
    )


@pytest.fixture(scope="module")
def klein(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny_klein"
    tiny_klein().save_pretrained(folder)
    return str(folder)


def test_a_diffusers_pipeline_draws_and_edits(klein):
    generator = named_generator(f"diffusers:{klein}", KLEIN, device="cpu", batch_size=2)
    assert generator.can_edit and not generator.is_paid and generator.model == "tiny_klein"
    assert klein not in str(generator.settings())
    first, second = [r.image for r in generator.draw([Request("a cat", seed, SIZE) for seed in (1, 2)])]
    assert first.size == SIZE and first.tobytes() != second.tobytes()
    pictures = {
        images: generator.draw([Request("the same cat", 1, SIZE, tuple(photo(i, SIZE) for i in images))])[
            0
        ].image.tobytes()
        for images in ((1,), (2,), (1, 2))
    }
    assert len({*pictures.values()}) == 3  # every picture is looked at
    [again] = generator.draw([Request("the same cat", 1, SIZE, (photo(1, SIZE),))])
    assert again.image.tobytes() == pictures[(1,)]
    generator.free()
    assert generator._pipe is None


def test_what_a_diffusers_pipeline_refuses_before_it_loads(klein, tmp_path):
    with pytest.raises(ValueError, match="`Flux2KleinPipeline` takes no option steps; it takes .*num_inference_steps"):
        named_generator(f"diffusers:{klein}", {"steps": 4})
    with pytest.raises(ValueError, match="takes no option height"):
        named_generator(f"diffusers:{klein}", {"height": 64})
    with pytest.raises(ValueError, match="is no pipeline of diffusers"):
        named_generator(f"diffusers:{tmp_path}")
    with pytest.raises(ValueError, match="`dtype` must be one of"):
        named_generator(f"diffusers:{klein}", {"dtype": "int4"})
    (tmp_path / "model_index.json").write_text('{"_class_name": "NoSuchPipeline"}', encoding="utf-8")
    with pytest.raises(ValueError, match="a NoSuchPipeline, which this diffusers does not have"):
        named_generator(f"diffusers:{tmp_path}")
    index = '{"_class_name": "QwenImageEditPlusPipeline"}'
    (tmp_path / "model_index.json").write_text(index, encoding="utf-8")
    editor = named_generator(f"diffusers:{tmp_path}", {"true_cfg_scale": 4.0, "negative_prompt": " "})
    assert editor.can_edit
    with pytest.raises(ValueError, match="`QwenImageEditPlusPipeline` only edits pictures. Name it with `--same-gen"):
        editor.draw([Request("a cat", 1, SIZE)])  # before its weights are looked for
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}', encoding="utf-8")
    assert not named_generator(f"diffusers:{tmp_path}").can_edit


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny_sdxl"
    pipe = tiny_pipeline()
    pipe.save_pretrained(folder)
    return pipe, str(folder)


def test_targets_come_from_the_base_alone_and_objects_from_the_adapter(own):
    pipe, folder = own
    generator = named_generator(f"relationbooth:{folder}", {"steps": 2}, device="cpu", batch_size=2)
    requests = [Request("a cat is hugging a bear", seed, (32, 32)) for seed in (3, 4)]
    targets = [drawn.image for drawn in generator.draw(requests)]
    pipe.set_progress_bar_config(disable=True)
    noise = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    plain = pipe(["a cat is hugging a bear"] * 2, height=32, width=32, num_inference_steps=2, generator=noise).images
    assert [image.tobytes() for image in targets] == [image.tobytes() for image in plain]
    alone = [
        generator.draw([Request("a cat is with a dog", 3, (32, 32), (photo(number),), ("cat",))])[0].image.tobytes()
        for number in (1, 2)
    ]
    assert alone[0] != alone[1]


def test_what_this_project_s_pipeline_refuses_before_it_loads():
    with pytest.raises(ValueError, match="options of this pipeline are adapter, .*, got colour"):
        named_generator("miniature", {"colour": 1})
    generator = named_generator("miniature", device="cpu")
    assert generator.default_size == (128, 128) and generator.model == "miniature"
    generator.check(["a cat is hugging an elephant in a meadow"])
    with pytest.raises(
        ValueError, match="the miniature does not know the words zeppelin. It knows .*elephant, .*shaking"
    ):
        generator.check(["a cat is hugging a zeppelin in a meadow"])
    sentences = [template.format("cat") for template in generator.same_templates]
    generator.check(sentences)


@pytest.mark.parametrize("kind", ["relationbooth", "diffusers"])
def test_models_of_one_name_are_told_apart_by_content(own, kind, tmp_path):
    """Plans of two trainings into folders of one name were taken for one another's."""
    _, folder = own
    for number in ("1", "2"):
        shutil.copytree(folder, tmp_path / number / "tiny_sdxl")

    def told(number):
        return named_generator(f"{kind}:{tmp_path / number / 'tiny_sdxl'}", device="cpu").settings()

    assert told("1") == told("2") and told("1")["dtype"] == "float32" and str(tmp_path) not in str(told("1"))
    file = tmp_path / "2" / "tiny_sdxl" / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"0")
    assert told("1") != told("2") and told("2")["model"].startswith("tiny_sdxl#")


def test_adapters_of_one_name_are_told_apart_by_content(own, tmp_path):
    pipe, _ = own
    for number in ("1", "2"):
        pipe.save_relation_adapter(tmp_path / number / "adapter")

    def told(number):
        return named_generator("miniature", {"adapter": str(tmp_path / number / "adapter")}, device="cpu").settings()

    assert told("1") == told("2")
    file = tmp_path / "2" / "adapter" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"0")
    assert told("1")["adapter"] != told("2")["adapter"] and told("1")["model"] == told("2")["model"]
