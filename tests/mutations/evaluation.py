"""Edits of what an evaluation draws, keeps and trains for its baselines, and of the miniature's judges."""

from .core import PACKAGE
from .edit import edits_of

TESTS = "tests/relationbooth_pipeline/evaluation"
GROUPS, SUBJECTS = f"{TESTS}/systems/test_groups.py", "tests/training/miniature/test_baselines.py"
SHIPPED = "tests/relationbooth_pipeline/miniature"
ANNOTATOR, JUDGES = f"{SHIPPED}/test_annotator.py", f"{SHIPPED}/test_judges.py"
LEARNED = "tests/training/miniature/judges"
STATEMENTS, WRONG = f"{LEARNED}/test_statements.py", f"{LEARNED}/test_wrong_pictures.py"

EDITS = [
    *edits_of(
        f"{PACKAGE}/evaluation/systems/system.py",
        {
            "the last call of a kind is a small one": (
                "cuts = [round(i * len(numbers) / count) for i in range(count + 1)]",
                "cuts = [*range(0, len(numbers), self.cases_a_call), len(numbers)]",
                f"{GROUPS}::test_groups_hold_every_case_once_and_are_even"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/evaluation/systems/pictures.py",
        {
            "only cases that miss a picture are drawn": (
                "        for case in group\n    ]",
                "        for case in group\n        if missing_numbers(root, system, cases, case, count)\n    ]\n"
                "    group = [order.case for order in orders]\n"
                "    missing = [(i, n) for i, c in enumerate(group)"
                "               for n in missing_numbers(root, system, cases, c, count)]",
                f"{GROUPS}::test_a_run_that_was_left_or_shared_ends_with_the_same_pictures"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/evaluation/systems/baselines.py",
        {
            "a copy's original is drawn alone": (
                "next((group for group in self.groups_of_base if other in group), [other])", "[other]",
                f"{GROUPS}::test_a_run_that_was_left_or_shared_ends_with_the_same_pictures"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/evaluation/metrics/features.py",
        {
            "a photo is known by its name": (
                "digests = [file_digest(path) for path in paths]", "digests = [str(path) for path in paths]",
                f"{TESTS}/metrics/test_features.py::test_a_photo_s_file_is_opened_once"),
        },
    ),
    *edits_of(
        "training/miniature/subjects/recipes.py",
        {
            "Custom Diffusion trains words alone": (
                "tune([*trained, *weights], loss, run)", "tune(weights, loss, run)",
                f"{SUBJECTS}::test_custom_diffusion_trains_keys_values_and_each_word_of_a_pair"),
            "a LoRA stays on the base": (
                "pipe.unet.unload_lora()", "pass",
                f"{SUBJECTS}::test_everything_is_trained_once_and_leaves_the_pipeline_as_it_was"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/miniature/annotator.py",
        {
            "a phrase claims its last word alone": (
                "return float(np.prod(found)) if found else 1.0", "return found[-1] if found else 1.0",
                f"{ANNOTATOR}::test_another_word_finds_nobody"),
            "whoever fits the box is meant": (
                "overlap(place, box) * _score(someone, wanted, self.attributes)", "overlap(place, box)",
                f"{ANNOTATOR}::test_in_one_box_the_phrase_decides"),
            "all centres are one": (
                "APART = 0.06, 0.14", "APART = 0.06, 0.9", f"{ANNOTATOR}::test_two_that_a_phrase_may_mean_are_two"),
            "keypoints lie where their cells lie": (
                'places = cells + said["keypoints"].unflatten(0, (-1, 2))',
                'places = cells + 0 * said["keypoints"].unflatten(0, (-1, 2))',
                f"{ANNOTATOR}::test_keypoints_have_their_names_places"),
            "masks have the reader's grid": (
                "_enlarged(someone.filled, image.height, image.width) > 0.5", "someone.filled > 0.5",
                f"{ANNOTATOR}::test_mask_box_and_keypoints_are_of_one_place"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/miniature/networks.py",
        {
            "a text is read from its batch's end": (
                "numbers[rows[-1], :length]", "numbers[rows[-1]]",
                f"{JUDGES}::test_a_picture_alone_is_read_as_in_a_batch"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/evaluation/metrics/drawn_world.py",
        {
            "every relation is there": (
                "Value(float(found == pose)", "Value(float(found != 0)",
                "tests/relationbooth_pipeline/evaluation/metrics/test_drawn_world.py"
                "::test_a_photo_of_one_who_stands_or_waves_is_judged_so"),
        },
    ),
    *edits_of(
        "training/miniature/judges/statements.py",
        {
            "who carries whom is all the same": (
                'self.poses == ("carrying",)', 'self.poses == ("hugging",)',
                f"{STATEMENTS}::test_what_holds_of_a_pair"),
        },
    ),
    *edits_of(
        "training/miniature/judges/annotator.py",
        {
            "centres are measured from the picture's corner": (
                "[owner].permute(2, 0, 1) - cells)", "[owner].permute(2, 0, 1))",
                f"{STATEMENTS}::test_grids_say_what_masks_and_boxes_say"),
        },
    ),
    *edits_of(
        "training/miniature/judges/wrong_layouts.py",
        {
            "a part that nobody misses is missing": (
                "mean() > LEAST_CHANGE", "mean() >= 0", f"{WRONG}::test_a_missing_part_shows"),
        },
    ),
    *edits_of(
        "training/miniature/judges/towers.py",
        {
            "a photo picks itself": (
                "right = right.masked_fill(itself, 0.0)", "right = right.masked_fill(itself, 1.0)",
                f"{STATEMENTS}::test_photos_pick_the_pictures_that_their_character_is_in"),
        },
    ),
]  # fmt: skip
