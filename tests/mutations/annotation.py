"""Edits of what annotates pictures and of what filters them."""

from .core import PACKAGE, TESTS
from .edit import edits_of

ROOM, POSES = f"{TESTS}/triplets/annotation", f"{TESTS}/vision/test_poses.py"
RULES, STAGES, EXPORT = (f"{ROOM}/test_{name}.py" for name in ("rules", "stages", "export"))
DESK = f"{TESTS}/triplets/review/test_desk.py"
DEFECT, FIGURES = f"{RULES}::test_each_defect_fails_its_own_rule", f"{RULES}::test_figures_agree_with_plain_loops"
CODE = f"{PACKAGE}/triplets/annotation"

EDITS = [
    *edits_of(
        f"{PACKAGE}/triplets/annotators/__init__.py",
        {
            "unknown words are told after pictures were paid for": (
                "choice.check_words(phrases, predicate)", "pass",
                f"{TESTS}/triplets/engine/test_make_command.py::test_bad_input_is_told_before_anything_is_sent"),
        },
    ),
    *edits_of(
        f"{CODE}/rules.py",
        {
            "the detector's threshold turned round": (
                'Finding(rule, index, float(figure), threshold, bool(figure >= threshold), sentence)',
                'Finding(rule, index, float(figure), threshold, bool(figure <= threshold), sentence)',
                f"{RULES}::test_the_good_pass_every_rule_and_leave_a_figure_of_each"),
            "what nobody found has a figure that a threshold may reach": (
                "Finding(rule, index, 0.0, None, False, sentence)", "Finding(rule, index, 0.0, 0.0, True, sentence)",
                f"{RULES}::test_no_threshold_accepts_what_is_not_there"),
            "a box that another phrase took is a rival": (
                "all(overlap(box[:4], other[:4]) < 0.5 for other in others)", "True", DEFECT),
            "a part of the object is a rival": ("and shared_part(box, own) < t.rival_inside", "", DEFECT),
            "a copy needs the same pixels and the same pose": (
                "same_features and (same_pixels or same_pose)", "same_features and same_pixels and same_pose", DEFECT),
            "whoever looks alike is a copy": (
                "passed = not (same_features and (same_pixels or same_pose))", "passed = not same_features", DEFECT),
            "keypoints nobody looked for are missing": ("if evidence.has_keypoints:", "if True:", DEFECT),
            "unsure keypoints vote for their place": (
                "target[..., None].float()], dim=-1)", "torch.ones_like(e.keypoints[..., :1])], dim=-1)", DEFECT),
        },
    ),
    *edits_of(
        f"{CODE}/keypoint_rules.py",
        {
            "a mask's edge has no reach": ("reach = math.ceil(", "reach = 0 * math.ceil(", FIGURES),
            "keypoints outside the picture are seen": (
                "return inside & (keypoints", "return (keypoints", FIGURES),
        },
    ),
    *edits_of(
        f"{CODE}/find.py",
        {
            "two phrases may take one object": (
                "if any(overlap(a[:4], b[:4]) > SAME_OBJECT", "if False and any(overlap(a[:4], b[:4]) > SAME_OBJECT",
                f"{ROOM}/test_find.py::test_nobody_takes_what_another_took"),
        },
    ),
    *edits_of(
        f"{CODE}/stage.py",
        {
            "other weights are the same record": (
                "checkpoint = None if self.choice is None else self.choice.checkpoint", "checkpoint = None",
                f"{STAGES}::test_other_weights_are_asked_anew_and_so_is_whoever_read_them"),
            "models stay loaded": (
                "        self.annotator.free()\n", "",
                f"{STAGES}::test_one_model_at_a_time_and_what_is_done_is_not_done_again"),
        },
    ),
    *edits_of(
        f"{CODE}/decisions.py",
        {
            "what was decided holds for any picture of the name": (
                "self.pictures is None or self.pictures[: len(known)] == known", "True",
                f"{DESK}::test_what_was_decided_about_a_picture_does_not_hold_for_another_of_its_name"),
        },
    ),
    *edits_of(
        f"{CODE}/export.py",
        {
            "nobody needs to look": (
                "if not decisions and not options.accept_all:", "if False:",
                f"{EXPORT}::test_nobody_s_review_is_not_skipped_silently"),
            "masks of other boxes are exported": (
                'if last.record_of(stage, candidate)["boxes"] != boxes:', "if False:",
                f"{EXPORT}::test_edited_boxes_are_looked_into_anew_and_by_their_stages_alone"),
            "what the filter did not see is exported": (
                "if not last.work.is_done(last.name, candidate.id, last.inputs(candidate)):", "if False:",
                f"{EXPORT}::test_what_an_annotation_that_was_stopped_midway_left_is_not_exported"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/vision/poses.py",
        {
            "animals' experts feed a human head": (
                "EXPERTS[self.keypoint_order]", "3",
                f"{POSES}::test_the_animals_experts_act_for_the_animals_head_alone"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/vision/pose_conversion.py",
        {
            "heads of another backbone are taken": (
                "if theirs is None or not torch.equal(theirs, tensor):", "if theirs is None:",
                f"{POSES}::test_a_backbone_that_differs_in_one_number_is_refused"),
            "norms of the head exchanged": (
                '"deconv_layers.1": "batchnorm1"', '"deconv_layers.1": "batchnorm2"',
                f"{POSES}::test_the_animals_head_gives_what_the_model_gives_that_it_was_built_in"),
        },
    ),
]  # fmt: skip
