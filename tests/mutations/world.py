"""Edits of the miniature's world: poses, things, editions, fine attributes and the proof that they can decide."""

from .edit import edits_of

POSES = "tests/training/miniature/test_poses.py"
WORLD = "training/miniature/world"
TEXTS = "tests/training/miniature/test_world.py"
DETAILS = "tests/training/miniature/test_details.py"
MADE_FOR = "tests/training/miniature/test_made_for.py"
WARM = "tests/training/miniature/test_warm_start.py"
PROOF = "tests/training/miniature/test_proportions.py"

EDITS = [
    *edits_of(
        "training/miniature/optimization/muon.py",
        {
            "weights of one shape share one norm": (
                "x.norm(dim=(-2, -1), keepdim=True)", "x.norm()",
                "tests/training/miniature/test_training.py::test_muons_steps_on_the_gram_matrix_are_those_on_the_weight"),
            "the momentum of the first weight counts for all": (
                'averages = [self.state[weight]["average"] for weight in weights]',
                'averages = [self.state[weights[0]]["average"] for weight in weights]',
                "tests/training/miniature/test_training.py::test_weights_of_one_shape_move_as_each_alone_would"),
        },
    ),
    *edits_of(
        f"{WORLD}/tokenizer.py",
        {
            "words are looked up whatever their case": (
                "text.split() for text in texts", "text.lower().split() for text in texts",
                f"{TEXTS}::test_words_that_are_looked_up_are_the_tokenizer_s"),
            "long texts lose their end": (
                "> length - 2:", "> length - 1:", f"{TEXTS}::test_words_that_are_looked_up_are_the_tokenizer_s"),
        },
    ),
    *edits_of(
        "training/miniature/judges/decoded.py",
        {
            "boxes are read columns first": (
                "((box[1], box[3]), (box[0], box[2]))", "((box[0], box[2]), (box[1], box[3]))",
                "tests/training/miniature/judges/test_decoded.py::test_what_is_broken_is_broken_inside_the_figures_box_alone"),
            "noise is everybody's own": (
                "torch.Generator().manual_seed(rng.randrange(2**31))", "None",
                "tests/training/miniature/judges/test_decoded.py::test_the_same_draws_give_the_same_pictures_and_others_others"),
        },
    ),
    *edits_of(
        "training/miniature/stages/attributes.py",
        {
            "what is never mentioned counts as learned": (
                "attributes + counted.gt(0).float()", "attributes + 1",
                f"{TEXTS}::test_attributes_of_which_none_counts_are_left_out_of_the_loss"),
        },
    ),
    *edits_of(
        f"{WORLD}/poses/__init__.py",
        {
            "a new pose pushes an old class aside": (
                "EDITIONS[2] = (*EDITIONS[1], *_named(*MORE_RELATIONS, *MORE_ACTIONS))",
                "EDITIONS[2] = (*_named(*MORE_RELATIONS, *MORE_ACTIONS), *EDITIONS[1])",
                f"{POSES}::test_editions_grow_at_their_ends"),
        },
    ),
    *edits_of(
        f"{WORLD}/splits.py",
        {
            "stages see every pose": (
                "for name in EDITIONS[edition or EDITION] if", "for name in EDITIONS[max(EDITIONS)] if",
                f"{POSES}::test_one_constant_chooses_the_edition"),
        },
    ),
    *edits_of(
        f"{WORLD}/captions.py",
        {
            "new words renumber the old ones": (
                "    words += [word for pose in known_poses(edition=edition) for word in PREDICATES[pose].split()]\n",
                "    words = [w for pose in known_poses(edition=edition) for w in PREDICATES[pose].split()] + words\n",
                f"{POSES}::test_old_words_keep_their_tokens"),
        },
    ),
    *edits_of(
        f"{WORLD}/poses/skeletons.py",
        {
            "keypoints turn against their figure": (
                "math.cos(math.radians(self.turn)), math.sin(math.radians(self.turn))",
                "math.cos(math.radians(self.turn)), math.sin(math.radians(-self.turn))",
                f"{POSES}::test_a_turned_figure_s_keypoints_turn_with_it"),
        },
    ),
    *edits_of(
        f"{WORLD}/rendering.py",
        {
            "keypoints of a small scene are the large one's": (
                "    moved = shrinking.mapXY(*place)\n    return moved.fX, moved.fY\n", "    return place\n",
                f"{POSES}::test_a_small_scene_is_the_usual_one_made_smaller"),
            "a thing is its holder's": (
                'canvas.owned_by(NO_OWNER, PARTS["prop"])', 'canvas.owned_by(1, PARTS["prop"])',
                f"{POSES}::test_what_a_thing_hides_is_not_visible"),
        },
    ),
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
    *edits_of(
        "training/miniature/stages/latents.py",
        {
            "details are looked for at their mirror image": (
                "row[:, None] * column", "column[:, None] * row",
                f"{DETAILS}::test_cells_in_which_details_are_drawn_count_more"),
            "all details are one character's": (
                "shares[number, kind] = covered", "shares[0, kind] = covered",
                f"{DETAILS}::test_what_is_kept_of_scenes_is_their_own"),
            "the first character is seen everywhere": (
                "shares[: len(masks)] = masks", "shares[: len(masks)] = masks[:1]",
                "tests/training/miniature/test_binding.py::test_shares_are_those_of_the_masks"),
            "weights are forgotten": (
                "(error.mean(1) * weights).sum() / weights.sum()", "error.mean()",
                f"{DETAILS}::test_the_denoising_loss_weighs_cells"),
        },
    ),
    *edits_of(
        "training/common/made_for.py",
        {
            "another model's results are gone on with": (
                "known.setdefault(name, value) != value", "known.update({name: value})",
                f"{MADE_FOR}::test_a_folder_is_made_for_what_it_was_first_used_with"),
            "a digest tells names alone": (
                " + bytes.fromhex(file_digest(file))", "",
                f"{MADE_FOR}::test_the_digest_tells_weights_and_names_and_nothing_else"),
        },
    ),
    *edits_of(
        "training/miniature/tables.py",
        {
            "rehearsals and tables share a folder": (
                ", rehearsal=given.toy", "", f"{MADE_FOR}::test_tables_refuse_a_folder_of_others"),
        },
    ),
    *edits_of(
        "training/miniature/stages/towers.py",
        {
            "the tables compare another tower than the adapter's": (
                "if not distilled.is_dir()", "if distilled.is_dir()",
                f"{MADE_FOR}::test_the_adapters_own_distilled_tower_is_compared"),
        },
    ),
]  # fmt: skip
