"""Edits of the page: who is answered, what is shown to whom, what stops and what comes back."""

from .core import PACKAGE, TESTS
from .edit import edits_of

LAWS = f"{TESTS}/app/test_laws.py"
OWN = f"{LAWS}::test_only_this_machine_s_own_page_is_answered"
READ = f"{TESTS}/app/test_guards.py"
FILES = f"{LAWS}::test_a_visitor_names_no_file_and_no_more_work_than_is_allowed"
BACK = f"{LAWS}::test_settings_of_a_picture_are_the_form_that_asked_for_it"
ADDRESS = f"{TESTS}/app/test_attacks.py::test_others_need_a_password"

EDITS = [
    *edits_of(
        f"{PACKAGE}/app/server.py",
        {
            "others reach the page without a password": (
                "if host not in LOOPBACK and not password:", "if False:", ADDRESS),
            "a short password will do": ("MIN_PASSWORD = 8 ", "MIN_PASSWORD = 4 ", ADDRESS),
        },
    ),
    *edits_of(
        f"{PACKAGE}/app/guards.py",
        {
            "foreign pages may post": (
                'foreign = origin is not None and origin.partition("://")[2] != host', "foreign = False", OWN),
            "the page's other ports are its own": (
                'origin.partition("://")[2] != host', '_name(origin.partition("://")[2]) != _name(host)', OWN),
            "any name that leads here is answered": ("_name(host) not in self.hosts", "not host", OWN),
            "a refusal cuts short who still sends": (
                "while unread:", "while False:", f"{READ}::test_a_refused_body_is_read_to_its_end_before_the_refusal"),
            "a refusal waits for who waits for it": (
                'name == b"expect"', 'name == b"none"',
                f"{READ}::test_a_client_that_waits_for_the_answer_is_answered_at_once"),
            "a body without end holds its refusal": (
                "LINGER)", "None)", f"{READ}::test_a_body_without_end_is_refused_all_the_same"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/app/studio.py",
        {
            "a mask may be a file of this machine": ("not str(mask).startswith(DATA_URL)", "not mask", FILES),
            "a visitor may draw for hours": ("if value is not None and value > most:", "if False:", FILES),
            "a visitor may load LoRAs without end": ("MAX_LORAS = 6, 3", "MAX_LORAS = 6, 99", FILES),
            "a visitor may name any LoRA": ("if name not in self.offers:", "if not name:", FILES),
        },
    ),
    *edits_of(
        f"{PACKAGE}/app/results.py",
        {
            "photos of one visitor return to another": (
                "        if self.shared:\n", "        if True:\n",
                f"{LAWS}::test_a_photo_returns_to_another_page_only_where_one_person_uses_all"),
            "pictures lie under names that can be guessed": (
                "secrets.token_hex(16)", "secrets.token_hex(2)",
                f"{LAWS}::test_every_picture_lies_under_a_name_of_its_own_that_nobody_can_guess"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/app/faults.py",
        {
            "text of people is HTML": (
                "{html.escape(sentence)}", "{sentence}",
                f"{TESTS}/app/test_form.py::test_text_of_people_is_never_html"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/app/drawing.py",
        {
            "a cancelled picture is drawn to its end": (
                "        stop.set()\n", "", f"{LAWS}::test_a_closed_drawing_stops_at_its_next_step"),
            "two pictures share the model": (
                "        with studio.lock:\n", "        if True:\n",
                f"{LAWS}::test_one_picture_at_a_time_whoever_asks"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/app/form.py",
        {
            "a restored picture has another seed": ("        seed=settings.seed,\n", "", BACK),
            "strengths of single photos are lost": (
                "strengths = [round(value / gamma, 4) for value in scale]", "pass", BACK),
        },
    ),
]  # fmt: skip
