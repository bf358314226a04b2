import sys
import types

import pytest
import torch

from relationbooth_pipeline.triplets import annotators as room
from relationbooth_pipeline.triplets.annotators import Choice, KeypointFinder, Segmenter, choose, choose_all, miniature
from relationbooth_pipeline.vision.poses import PoseEstimator
from relationbooth_pipeline.vision.segmenters import Sam
from tests.tiny import photo

BOXES = [(0.1, 0.2, 0.6, 0.9), (0.4, 0.0, 1.0, 0.5)]
NAMES = {
    "boxes": "owlv2:{owl}",
    "masks": "sam:{sam}",
    "keypoints": "vitpose:{vitpose}",
    "captions": "vlm:{llava}",
    "judge": "vlm:{llava}",
    "likeness": "dino:{dino}",
}


@pytest.fixture
def names(annotators):
    return {role: name.format(**annotators) for role, name in NAMES.items()}


def test_every_role_has_a_real_model_and_its_checkpoint_is_known_before_it_loads(names):
    chosen = choose_all(names)
    assert set(chosen) == set(room.ROLES) == set(room.KNOWN) == set(room.DEFAULTS) == set(room.ALL_MINIATURE)
    for role, choice in chosen.items():
        loaded = choice.load()
        assert isinstance(loaded, room.ROLES[role])
        assert loaded.checkpoint.startswith(choice.checkpoint) and "#" in choice.checkpoint
        assert loaded.free() is None


def test_what_they_find_is_the_models_own(names, annotators):
    chosen, picture = choose_all(names), photo(size=(60, 40))
    masks = chosen["masks"].load().segment_all(picture, BOXES, ["cat", "dog"])
    assert torch.equal(torch.stack(masks), Sam(annotators["sam"]).masks(picture, BOXES))
    assert torch.equal(masks[0], chosen["masks"].load().segment(picture, BOXES[0], "cat"))
    finder = chosen["keypoints"].load()
    points = PoseEstimator(annotators["vitpose"]).keypoints(picture, BOXES)
    torch.testing.assert_close(torch.stack(finder.keypoints_all(picture, BOXES, ["cat", "dog"])), points)
    torch.testing.assert_close(finder.keypoints(picture, BOXES[1], "dog"), points[1])
    assert finder.keypoint_order == chosen["keypoints"].keypoint_order == "COCO"
    assert 0 < chosen["judge"].load().probability(picture, ["cat", "dog"], "hugging") < 1
    assert chosen["likeness"].load().features([picture, picture]).shape == (2, 32)


def test_grounding_dino_finds_in_the_picture(annotators):
    finder = choose("boxes", f"grounding-dino:{annotators['grounding_dino']}").load()
    finder.detector.threshold = 0.0  # random weights are sure of nothing
    found = finder.find(photo(size=(60, 40)), "polar bear")
    assert found and [s for _, s in found] == sorted((s for _, s in found), reverse=True)
    assert all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for (x0, y0, x1, y1), _ in found)


def test_the_likeliest_tokens_are_the_caption(names):
    """Against a loop that takes the most likely token each time."""
    captioner, picture = choose_all(names)["captions"].load(), photo(size=(60, 40))
    model, wanted = captioner.model, []
    model.model.generation_config.suppress_tokens = [0, 1, 2]  # an image's token asks for an image
    inputs = model._turn(picture, "a cat ?")
    pixels, tokens = inputs["pixel_values"], inputs["input_ids"]
    for _ in range(6):
        with torch.no_grad():
            token = 3 + model.model(input_ids=tokens, pixel_values=pixels).logits[0, -1, 3:].argmax()
        wanted.append(token.item())
        tokens = torch.cat([tokens, token.view(1, 1)], dim=1)
    assert model.answer(picture, "a cat ?", 6) == model.processor.decode(wanted, skip_special_tokens=True).strip()


@pytest.mark.parametrize(
    "role, name, message",
    [
        ("boxes", "yolo", "must be one of `owlv2:MODEL`, `grounding-dino:MODEL`, `miniature` or `module:Class`"),
        ("boxes", "none", "`--boxes` must be one of"),
        ("captions", "miniature", "`--captions` must be one of `vlm:MODEL`, `none` or"),
        ("keypoints", "vitpose:", "`--keypoints` must be one of .*got 'vitpose:'"),
        ("masks", "no.such.module:Thing", "is no annotator that is known here .*Known are `sam:MODEL`, `sam2:MODEL`"),
        ("masks", "torch:Nothing", "has no attribute 'Nothing'"),
        ("masks", "torch:Tensor", "must be a subclass of relationbooth_pipeline.triplets.annotators.Segmenter"),
        ("masks", "relationbooth_pipeline.triplets.annotators:Segmenter", "lacks segment of Segmenter"),
        ("boxes", "owlv2:{sam}", "`owlv2` needs a model of kind owlv2, but .* is sam"),
        ("boxes", "grounding-dino:{owl}", "needs a model of kind grounding-dino or mm-grounding-dino, but .* is owlv2"),
        ("masks", "sam:{vitpose}", "`sam` needs a model of kind sam, but .* is vitpose"),
        ("keypoints", "vitpose:{sam}", "`vitpose` needs a model of kind vitpose, but .* is sam"),
        ("judge", "vlm:{dino}", "`vlm` needs an image-text-to-text model"),
        ("likeness", "dino:{owl}", "`dino` needs a model of kind vit or dinov2"),
        ("likeness", "dino:/no/such/folder", "has no readable config"),
    ],
)  # fmt: skip
def test_other_names_and_kinds_are_refused_before_weights_load(annotators, role, name, message, monkeypatch):
    from transformers import PreTrainedModel

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", classmethod(lambda *a, **k: pytest.fail("weights loaded")))
    with pytest.raises(ValueError, match=message):
        choose(role, name.format(**annotators))


def test_all_refused_names_are_told_at_once(names):
    with pytest.raises(ValueError) as caught:
        choose_all(names | {"boxes": "yolo", "likeness": "eyes"})
    assert [line.split("`")[1] for line in str(caught.value).split("\n")] == ["--boxes", "--likeness"]


def test_anybody_s_class_is_taken_by_its_name(monkeypatch):
    class Whole(Segmenter):
        checkpoint = "whole box, 1"

        def __init__(self, device):
            self.device = device

        def segment(self, image, box, phrase):
            return torch.ones(image.height, image.width, dtype=torch.bool)

    module = types.ModuleType("my_annotators")
    module.Whole = Whole
    monkeypatch.setitem(sys.modules, "my_annotators", module)
    choice = choose("masks", "my_annotators:Whole", "cpu")
    assert choice.checkpoint == "whole box, 1" and choice.load().device == "cpu"
    assert len(choice.load().segment_all(photo(), BOXES, ["cat", "dog"])) == 2
    assert choose("keypoints", Choice.NONE) is None


class _Stub:
    def find(self, image, phrase):
        return [((0.1, 0.2, 0.5, 0.6), 0.9)]

    def segment(self, image, box, phrase):
        return torch.ones(image.height, image.width, dtype=torch.bool)

    def keypoints(self, image, box, phrase):
        return torch.full((17, 3), 0.5)

    def relation(self, image, predicate):
        return 0.75 if predicate == "hugging" else 0.1


def test_the_miniature_s_roles_ask_its_one_model(monkeypatch):
    monkeypatch.setattr(miniature, "model", lambda device: _Stub())
    monkeypatch.setattr(miniature, "is_here", lambda: True)
    chosen, picture = choose_all(room.ALL_MINIATURE), photo(size=(60, 40))
    loaded = {role: choice.load() for role, choice in chosen.items() if choice is not None and role != "likeness"}
    assert chosen["captions"] is None and loaded["boxes"].find(picture, "cat") == [((0.1, 0.2, 0.5, 0.6), 0.9)]
    assert loaded["masks"].segment(picture, BOXES[0], "cat").all()
    assert isinstance(loaded["keypoints"], KeypointFinder) and chosen["keypoints"].keypoint_order == "AP-10K"
    assert loaded["keypoints"].keypoints(picture, BOXES[0], "cat").shape == (17, 3)
    assert loaded["judge"].probability(picture, ["cat", "dog"], "hugging") == 0.75


def test_an_installation_without_the_miniature_s_annotator_says_so(monkeypatch):
    monkeypatch.setattr(miniature, "is_here", lambda: False)
    with pytest.raises(
        ValueError, match="`miniature`: this installation has no `relationbooth_pipeline.miniature.annotator`"
    ):
        choose("boxes", "miniature")
    assert choose("likeness", "miniature").name == "dino:miniature"  # its towers are always there


def test_each_miniature_tower_has_its_own_checkpoint():
    """Another `--likeness` went unnoticed: both were called "miniature"."""
    chosen = [choose("likeness", f"{kind}:miniature") for kind in ("clip", "dino")]
    assert [choice.checkpoint for choice in chosen] == [choice.load().checkpoint for choice in chosen]
    assert chosen[0].checkpoint != chosen[1].checkpoint and all("#" in choice.checkpoint for choice in chosen)
