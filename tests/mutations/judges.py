"""Edits of the miniature's judges, towers and annotator, and of what they learn from."""

from .core import PACKAGE
from .edit import edits_of

SHIPPED = "tests/relationbooth_pipeline/miniature"
ANNOTATOR, JUDGES = f"{SHIPPED}/test_annotator.py", f"{SHIPPED}/test_judges.py"
LEARNED = "tests/training/miniature/judges"
STATEMENTS, WRONG = f"{LEARNED}/test_statements.py", f"{LEARNED}/test_wrong_pictures.py"

EDITS = [
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
