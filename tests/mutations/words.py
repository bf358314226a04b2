"""Edits of words, masks and triplets."""

from .core import PACKAGE, TESTS
from .edit import edits_of

MASKS = f"{TESTS}/test_relation_masks.py"
TRIPLETS = f"{TESTS}/laws/test_triplet_laws.py"
RELEASED = f"{TRIPLETS}::test_a_released_triplet_is_read_value_by_value"
SWAP = f"{TRIPLETS}::test_a_swap_is_called_when_it_leads_by_a_tenth"
PHRASES = f"{TESTS}/test_relation_phrases.py"
IN_FORCE = f"{TESTS}/test_lora_in_force.py::test_the_prior_follows_what_changes_the_picture"
CLIP = f"{TESTS}/laws/test_pipeline_laws.py::test_image_prompts_are_normalised_by_clip_s_own_numbers"

EDITS = [
    *edits_of(
        f"{PACKAGE}/relation_images.py",
        {
            "a mask is whatever is not black": (
                "return values > top / 2", "return values > 0", f"{MASKS}::test_every_form_reads_as_the_same_mask"),
            "half of a mask's range is 1/2": (
                "return values > top / 2", "return values > 0.5", f"{MASKS}::test_every_form_reads_as_the_same_mask"),
            "alpha never decides": (
                "if alpha.max() == 0 or (opaque.any() and not opaque.all()):", "if alpha.max() == 0:",
                f"{MASKS}::test_every_form_reads_as_the_same_mask"),
            "alpha always decides": (
                "if alpha.max() == 0 or (opaque.any() and not opaque.all()):", "if True:",
                f"{MASKS}::test_every_form_reads_as_the_same_mask"),
            "a hidden picture is a mask of everything": (
                "if alpha.max() == 0 or (opaque", "if (opaque",
                f"{MASKS}::test_nothing_inside_is_no_mask_of_everything"),
            "pictures lie as the camera lay": (
                "return ImageOps.exif_transpose(image)", "return image",
                f"{TESTS}/test_relation_images.py::test_exif_rotation_is_applied"),
            "transparency lies over black": (
                'Image.new("RGBA", image.size, "white")', 'Image.new("RGBA", image.size, "black")',
                f"{TESTS}/test_relation_images.py::test_transparency_lies_over_white"),
            "pixels are not normalised": ("return (values - mean) / std", "return values * 2 - 1", CLIP),
            "deviation of another channel order": (
                "return (values - mean) / std", "return (values - mean) / std.flip(1)", CLIP),
        },
    ),
    *edits_of(
        f"{PACKAGE}/relation_layouts.py",
        {
            "two phrases share a place": (
                "all(m[1] <= start or end <= m[0] for start, end in taken)", "True",
                f"{PHRASES}::test_no_two_phrases_share_a_place"),
            "short phrases choose first": (
                "key=lambda i: -len(phrases[i])", "key=lambda i: len(phrases[i])",
                f"{PHRASES}::test_no_two_phrases_share_a_place"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/relation_lora.py",
        {
            "a LoRA of weight 0 places objects": ("if pair[1] > 0]", "if pair[1] >= 0]", IN_FORCE),
            "a call's scale leaves the prior alone": (
                "weight * self._call_lora_scale", "weight",
                f"{TESTS}/test_lora_in_force.py::test_the_scale_of_a_call_counts"),
            "rank-stabilised LoRAs are read as ordinary ones": (
                "(math.sqrt(rank) if layer.use_rslora.get(name) else rank)", "rank",
                f"{TESTS}/test_lora_in_force.py::test_the_weight_of_a_rank_stabilised_lora"),
            "a disabled LoRA places objects": (
                "() if layer.disable_adapters else fused or", "fused or", IN_FORCE),
            "the lightest LoRA's prior counts": (
                "return max(acting, key", "return min(acting, key",
                f"{TESTS}/test_relation_lora.py::test_two_at_once_and_the_prior_of_the_heaviest"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/triplets/keypoints.py",
        {
            "any lead makes a swap": ("SWAP_MARGIN = 0.1 ", "SWAP_MARGIN = 0.01 ", SWAP),
            "only a large lead makes a swap": ("SWAP_MARGIN = 0.1 ", "SWAP_MARGIN = 0.15 ", SWAP),
            "invisible keypoints vote": (
                "visible = points[points[:, 2] > 0]", "visible = points",
                f"{TESTS}/triplets/test_keypoints.py::test_invisible_keypoints_have_no_vote"),
            "x and y of keypoints change places": (
                "[mask.shape[1], mask.shape[0]]", "[mask.shape[0], mask.shape[1]]", SWAP),
        },
    ),
    *edits_of(
        f"{PACKAGE}/relation_regions.py",
        {
            "boxes of masks lose the last column": (
                "size - occupied.flip(-1).float()", "size - 1 - occupied.flip(-1).float()", RELEASED),
        },
    ),
]  # fmt: skip
