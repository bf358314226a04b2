"""Edits of the miniature's fine attributes and of the proof that they can decide."""

from .edit import edits_of

DETAILS = "tests/training/miniature/test_details.py"
WARM = "tests/training/miniature/test_warm_start.py"
PROOF = "tests/training/miniature/test_proportions.py"

EDITS = [
    *edits_of(
        "training/miniature/world/canvas.py",
        {
            "triangles have less ink": (
                "radius = side * math.sqrt(4 / (3 * math.sqrt(3)))", "radius = side * math.sqrt(4 / 6)",
                f"{DETAILS}::test_shapes_differ_in_form_alone"),
        },
    ),
    *edits_of(
        "training/miniature/world/identities.py",
        {
            "details are drawn before the coarse attributes": (
                "    species = rng.choice(SPECIES)\n", "    fine and rng.random()\n    species = rng.choice(SPECIES)\n",
                f"{DETAILS}::test_characters_without_details_are_what_they_were"),
        },
    ),
    *edits_of(
        "training/miniature/stages/character_views.py",
        {
            "a cut-off detail counts": (
                "low, high = DETAIL_MARGIN, side - DETAIL_MARGIN", "low, high = -side, 2 * side",
                f"{DETAILS}::test_views_say_what_they_show"),
        },
    ),
    *edits_of(
        "training/miniature/stages/warm_start.py",
        {
            "words go by their numbers": (
                "weight[mine] = state[key][theirs]", "weight[theirs] = state[key][theirs]",
                f"{WARM}::test_a_larger_vocabulary_reads_old_sentences_as_before"),
        },
    ),
    *edits_of(
        "training/miniature/measure/proportions.py",
        {
            "the best attribute speaks for its kind": (
                '(min if sign == ">=" else max)', '(max if sign == ">=" else min)',
                f"{PROOF}::test_verdicts_name_the_worst_attribute_of_each_kind"),
        },
    ),
]  # fmt: skip
