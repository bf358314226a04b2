"""Edits of the data engine: what is paid for, what is kept, and keys."""

from .core import PACKAGE, TESTS
from .edit import edits_of

ENGINE, MAKERS = f"{PACKAGE}/triplets/engine", f"{PACKAGE}/triplets/generators"
ASKING = f"{TESTS}/triplets/engine/test_asking.py"
SPENDING = f"{TESTS}/triplets/engine/test_spending.py"
LOST = f"{ASKING}::test_an_answer_that_never_came_counts_and_is_asked_for_in_the_next_run"
COUNTED = f"{SPENDING}::test_what_was_sent_without_an_outcome_counts_as_spent"
NAMED = f"{TESTS}/triplets/generators/test_named.py"

EDITS = [
    *edits_of(
        f"{ENGINE}/ledger.py",
        {
            "what was sent without an outcome costs nothing": (
                "self.open_images, self.open_cost = line[\"images\"], line[\"cost\"]", "pass", COUNTED),
            "a second sending forgets the first": (
                "self.images, self.cost = self.images + self.open_images, self.cost + self.open_cost", "pass", COUNTED),
            "a file's name says when": (
                "sorted(found, key=lambda line: line[0])", "found",
                f"{SPENDING}::test_lines_hold_in_the_order_of_their_times_whatever_the_number_of_shards_was"),
            "a later line takes the picture away": (
                'line.get("picture") or self.picture', 'line.get("picture")',
                f"{SPENDING}::test_lines_hold_in_the_order_of_their_times_whatever_the_number_of_shards_was"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/triplets/line_files.py",
        {
            "a line joins the half that a full disk took": (
                "            os.ftruncate(handle, whole)\n            raise", "            raise",
                f"{SPENDING}::test_a_line_of_which_a_full_disk_took_a_part_is_taken_back"),
            "a torn line stays": (
                "if not _ends(handle, whole):", "if False:",
                f"{SPENDING}::test_a_damaged_ledger_stops_everything_and_a_torn_end_does_not"),
        },
    ),
    *edits_of(
        f"{ENGINE}/budget.py",
        {
            "what is reserved may be spent again": (
                "images = self.images + self._reserved_images + 1", "images = self.images + 1",
                f"{SPENDING}::test_nothing_is_reserved_beyond_the_caps"),
        },
    ),
    *edits_of(
        f"{ENGINE}/asking.py",
        {
            "a broken answer is asked for again by itself": (
                "if account.is_final and not self.manners.again:", 'if account.status == "refused":',
                f"{ASKING}::test_a_broken_answer_is_paid_for_and_asked_again_only_when_told"),
            "an answer that never came is free": ("images = int(answer.is_paid)", "images = 0", LOST),
            "requests are sent without being written down": (
                'self.ledger.write("sent", task.key', '() and self.ledger.write("sent", task.key',
                f"{ASKING}::test_what_a_full_disk_swallowed_counts"),
        },
    ),
    *edits_of(
        f"{ENGINE}/token_bucket.py",
        {
            "too many changes nobody's pace": (
                "if slow_down:", "if False:",
                f"{SPENDING}::test_too_many_closes_the_bucket_and_halves_the_pace_for_everybody"),
        },
    ),
    *edits_of(
        f"{ENGINE}/drawing.py",
        {
            "what is missing of a batch is drawn without the rest": (
                "[task.request(self.work) for task in batch]", "[task.request(self.work) for task in missing]",
                f"{TESTS}/triplets/engine/test_drawing.py::"
                "test_a_picture_that_is_gone_is_drawn_again_with_its_whole_batch"),
        },
    ),
    *edits_of(
        f"{MAKERS}/endpoint.py",
        {
            "the client repeats what was lost": (
                "max_retries=0", "max_retries=2",
                f"{TESTS}/triplets/generators/test_endpoint.py::test_what_an_answer_means"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/triplets/keys.py",
        {
            "a key that looks like a word may be written down": (
                "any(key in text for key in _long([*_environment(), *keys]))", "False",
                f"{NAMED}::test_the_environment_s_keys_are_taken_out_and_refused_and_its_words_are_not"),
            "keys stay in other people's words": (
                'text = text.replace(key, "[key]")', "pass", f"{NAMED}::test_keys_are_taken_out_of_words"),
            "a password in an address is no key": (
                "if _KEY.search(text) or _PASSWORD.search(text) or", "if _KEY.search(text) or",
                f"{NAMED}::test_what_looks_like_a_key_is_refused_wherever_it_stands"),
        },
    ),
]  # fmt: skip
