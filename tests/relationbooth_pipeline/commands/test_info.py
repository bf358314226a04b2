"""`relationbooth info` on tiny files."""

import json

from relationbooth_pipeline.relation_attention import cross_attention_layers
from tests.tiny import photo, tiny_pipeline


def test_info_tells_adapters_loras_and_pipelines(run, world):
    weights = world / "weights"
    adapter = json.loads(run("info", weights / "relation_adapter").output)
    assert adapter["kind"] == "relation adapter" and adapter["tokens_per_object"] == 4
    assert adapter["brings"] == ["image_encoder", "local_image_encoder"]
    lora = json.loads(run("info", weights / "relation_loras" / "hug").output)
    layers = len(cross_attention_layers(tiny_pipeline(adapter=False).unet))
    assert lora["kind"] == "RelationLoRA" and lora["rank"] == [2] and lora["layers"] == 4 * layers
    assert lora["relation"]["predicate"] == "is hugging"
    pipeline = json.loads(run("info", weights).output)
    assert pipeline["components"]["unet"] == "UNet2DConditionModel" and pipeline["relation_loras"] == ["hug", "jump"]
    encoder = json.loads(run("info", weights / "relation_adapter" / "local_image_encoder").output)
    assert encoder["kind"] == "local image encoder"


def test_info_refuses_what_it_does_not_know(run, tmp_path):
    photo().save("photo.png")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    (tmp_path / "note.txt").write_text("x")
    for name, message in (
        ("photo.png", "carries no settings"),
        ("cut.safetensors", "no intact safetensors"),
        ("note.txt", "must be a folder"),
        ("absent", "there is no"),
    ):
        result = run("info", name)
        assert result.exit_code == 1 and message in result.output, result.output
