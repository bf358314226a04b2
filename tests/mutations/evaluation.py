"""Edits of what an evaluation draws together, keeps, and trains for its baselines."""

from .core import PACKAGE
from .edit import edits_of

TESTS = "tests/relationbooth_pipeline/evaluation"
GROUPS, SUBJECTS = f"{TESTS}/systems/test_groups.py", "tests/training/miniature/test_baselines.py"

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
]  # fmt: skip
