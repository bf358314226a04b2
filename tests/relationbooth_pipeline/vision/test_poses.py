import pytest
import torch
from transformers import VitPoseForPoseEstimation

from relationbooth_pipeline.vision.pose_conversion import HEAD_TENSORS, convert_keypoints
from relationbooth_pipeline.vision.poses import PoseEstimator, check_pose_model
from tests.tiny import photo

from .tiny_annotators import tiny_vitpose

BOXES = [(0.1, 0.2, 0.6, 0.9), (0.4, 0.0, 1.0, 0.5)]


def original_state(hub, other, number=2):
    """The authors' format of one Hub model, with another's head among the associated ones; written independently."""
    state = {}
    for name, tensor in hub.backbone.state_dict().items():
        name = name.replace("embeddings.patch_embeddings.projection", "patch_embed.proj")
        name = name.replace("embeddings.position_embeddings", "pos_embed")
        name = name.replace("encoder.layer", "blocks").replace("attention.output.dense", "attn.proj")
        name = name.replace("layernorm_before", "norm1").replace("layernorm_after", "norm2")
        state[f"backbone.{name.replace('layernorm', 'last_norm')}"] = tensor
    for name in [name for name in state if ".attention.attention.query." in name]:
        parts = [state.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        state[name.replace("attention.attention.query", "attn.qkv")] = torch.cat(parts)
    for theirs, ours in HEAD_TENSORS.items():
        for name, tensor in other.head.state_dict().items():
            if name.startswith(f"{ours}."):
                state[f"associate_keypoint_heads.{number}.{theirs}.{name.removeprefix(f'{ours}.')}"] = tensor
    state["backbone.cls_token"] = torch.zeros(1, 1, 32)
    return state


@pytest.fixture
def converted(tmp_path):
    """(original file, Hub folder, folder with the animals' head, the model that the head was built in)."""
    hub = VitPoseForPoseEstimation.from_pretrained(tiny_vitpose(tmp_path / "hub", simple=False))
    whole = VitPoseForPoseEstimation.from_pretrained(tiny_vitpose(tmp_path / "whole", simple=False, seed=9))
    whole.backbone.load_state_dict(hub.backbone.state_dict())
    file = tmp_path / "vitpose+_tiny.pth"
    torch.save({"state_dict": original_state(hub, whole)}, file)
    return file, tmp_path / "hub", tmp_path / "animals", whole


def test_keypoints_of_one_pass_are_those_of_passes_of_their_own(annotators):
    estimator, picture = PoseEstimator(annotators["vitpose"]), photo(size=(60, 40))
    together = estimator.keypoints(picture, BOXES)
    assert together.shape == (2, 17, 3) and estimator.keypoint_order == "COCO"
    for i, box in enumerate(BOXES):
        torch.testing.assert_close(estimator.keypoints(picture, [box])[0], together[i])


def test_keypoints_are_where_the_heatmap_is_highest(annotators):
    """Within a cell of the heatmap, which lies over the box enlarged to the input's aspect and by a quarter."""
    estimator, picture = PoseEstimator(annotators["vitpose"]), photo(size=(120, 80))
    box = (0.25, 0.25, 0.75, 0.75)  # 60 × 40 pixels: 60 × 80 at 3:4, with a quarter more 75 × 100
    found = estimator.keypoints(picture, [box])[0]
    pixels = estimator.processor(picture, boxes=[[[30, 20, 60, 40]]], return_tensors="pt").pixel_values
    with torch.no_grad():
        heat = estimator.model(pixels, dataset_index=torch.tensor([0])).heatmaps[0]
    row, column = (heat.flatten(1).argmax(1) // heat.shape[2]), heat.flatten(1).argmax(1) % heat.shape[2]
    x = (60 + 75 * (column / (heat.shape[2] - 1) - 0.5)) / 120
    y = (40 + 100 * (row / (heat.shape[1] - 1) - 0.5)) / 80
    cell = torch.tensor([75 / heat.shape[2] / 120, 100 / heat.shape[1] / 80])
    assert ((found[:, :2] - torch.stack([x, y], 1)).abs() <= 1.5 * cell).all()
    torch.testing.assert_close(found[:, 2], heat.flatten(1).amax(1))


def test_the_animals_head_gives_what_the_model_gives_that_it_was_built_in(converted):
    file, hub, animals, whole = converted
    assert convert_keypoints(file, hub, animals) == len(whole.backbone.state_dict())
    estimator, pixels = PoseEstimator(str(animals)), torch.randn(2, 3, 64, 48)
    assert estimator.keypoint_order == "AP-10K"
    with torch.no_grad():
        for expert in range(6):
            index = torch.tensor([expert, expert])
            wanted = whole.eval()(pixels, dataset_index=index).heatmaps
            torch.testing.assert_close(estimator.model(pixels, dataset_index=index).heatmaps, wanted)


def test_the_animals_experts_act_for_the_animals_head_alone(converted):
    file, hub, animals, _ = converted
    convert_keypoints(file, hub, animals)
    for folder, expert in ((hub, 0), (animals, 3)):
        estimator, seen = PoseEstimator(str(folder)), []
        estimator.model.register_forward_pre_hook(
            lambda module, args, kwargs, seen=seen: seen.append(kwargs["dataset_index"].tolist()), with_kwargs=True
        )
        estimator.keypoints(photo(size=(60, 40)), BOXES)
        assert seen == [[expert, expert]]


def test_a_backbone_that_differs_in_one_number_is_refused(converted):
    file, hub, animals, _ = converted
    state = torch.load(file, weights_only=True)["state_dict"]
    for key in ("backbone.blocks.1.attn.qkv.bias", "backbone.blocks.0.mlp.experts.3.weight", "backbone.pos_embed"):
        other = dict(state)
        other[key] = state[key].clone()
        other[key].view(-1)[-1] += 1e-6 + other[key].view(-1)[-1].abs()
        torch.save({"state_dict": other}, file)
        with pytest.raises(ValueError, match=f"the backbones are not the same: .*`{key}`.*which differs"):
            convert_keypoints(file, hub, animals)
        assert not animals.exists()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s.pop("backbone.pos_embed"), "`backbone.pos_embed` .*which lacks it"),
        (lambda s: s.pop("associate_keypoint_heads.2.final_layer.bias"), "must hold `associate_.*has nothing"),
        (lambda s: s.update({"associate_keypoint_heads.2.final_layer.bias": torch.zeros(14)}), r"of shape \(14,\)"),
    ],
)
def test_an_original_that_lacks_something_is_refused(converted, change, message):
    file, hub, animals, _ = converted
    state = torch.load(file, weights_only=True)["state_dict"]
    change(state)
    torch.save({"state_dict": state}, file)
    with pytest.raises(ValueError, match=message):
        convert_keypoints(file, hub, animals)


def test_other_heads_and_decoders_are_refused(converted, tmp_path, annotators):
    file, hub, animals, _ = converted
    with pytest.raises(ValueError, match="`head` must be one of ap10k, got 'mpii'"):
        convert_keypoints(file, hub, animals, head="mpii")
    with pytest.raises(ValueError, match="has the simple decoder"):
        convert_keypoints(file, annotators["vitpose"], animals)


@pytest.mark.parametrize(
    "changes, message",
    [({"labels": 133}, "has 133 keypoints; triplets have 17"), ({"keypoint_order": "MPII"}, "names the order 'MPII'")],
)
def test_heads_that_triplets_do_not_know_are_refused_before_weights_load(tmp_path, changes, message):
    folder = tiny_vitpose(tmp_path, **changes)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=message):
        check_pose_model(folder)
