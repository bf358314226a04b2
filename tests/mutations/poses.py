"""Edits of the miniature's poses, things and editions."""

from .edit import edits_of

POSES = "tests/training/miniature/test_poses.py"
WORLD = "training/miniature/world"

EDITS = [
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
]  # fmt: skip
