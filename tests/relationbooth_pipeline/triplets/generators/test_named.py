"""Generators by name, and what is refused before anything loads or is sent."""

import pytest

from relationbooth_pipeline.triplets.generators import Generator, named_generator
from relationbooth_pipeline.triplets.generators.endpoint import check_address
from relationbooth_pipeline.triplets.keys import refuse_keys, without_keys

from ..engine.drawn_plan import NEEDS_OPENAI

KEY = "sk-sentinel0123456789"


class Painter(Generator):
    """Anybody's own."""

    def __init__(self, colour="red"):
        self.model, self.colour = "painter", colour

    def settings(self):
        return {"colour": self.colour}

    def draw(self, requests):
        return []


def test_a_name_is_a_known_kind_or_a_class():
    painter = named_generator(f"{__name__}:Painter", {"colour": "blue"})
    assert painter.colour == "blue"
    for name in ("dalle", "openai:", "gpt/image:x"):
        with pytest.raises(ValueError, match="must be one of `miniature`, `openai:MODEL`, `diffusers:MODEL`"):
            named_generator(name)
    with pytest.raises(ValueError, match="none that is known here"):
        named_generator("no_such_module:Class")
    with pytest.raises(ValueError, match="must be a subclass of"):
        named_generator("pathlib:Path")
    with pytest.raises(ValueError, match="lacks draw, settings of Generator"):
        named_generator("relationbooth_pipeline.triplets.generators:Generator")


@NEEDS_OPENAI
def test_an_endpoint_without_a_key_is_refused_unless_it_is_here(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match="`api.openai.com` needs a key.* OPENAI_API_KEY"):
        named_generator("openai:gpt-image-1")
    with pytest.raises(ValueError, match="needs a key.* MY_KEY"):
        named_generator("openai:m", base_url="https://example.org/v1", key_variable="MY_KEY")
    assert named_generator("openai:m", base_url="http://127.0.0.1:9/v1").is_paid
    monkeypatch.setenv("MY_KEY", KEY)
    generator = named_generator("openai:m", base_url="https://example.org/v1", key_variable="MY_KEY")
    assert KEY not in repr(generator.settings())


@NEEDS_OPENAI
def test_keys_are_no_options_models_or_addresses():
    local = {"base_url": "http://127.0.0.1:9/v1"}
    for name, arguments in (
        (f"openai:{KEY}", local),
        ("openai:m", {"base_url": f"http://127.0.0.1:9/{KEY}"}),
        ("openai:m", {"base_url": "http://me:secret99@127.0.0.1:9/v1"}),
        ("openai:m", {"base_url": "http://127.0.0.1:9/v1?key=secret99"}),
        ("openai:m", {**local, "options": {"style": KEY}}),
        ("openai:m", {**local, "key_variable": KEY}),
    ):
        with pytest.raises(ValueError, match="key") as raised:
            named_generator(name, **arguments)
        assert KEY not in str(raised.value) and "secret99" not in str(raised.value)
    with pytest.raises(ValueError, match="an endpoint's options are background.*, got n"):
        named_generator("openai:m", {"n": 3}, **local)


@NEEDS_OPENAI
@pytest.mark.parametrize("key", ["sk-first-line\nand-another", "schlüssel-geheim", "two words of a key"])
def test_a_key_that_no_request_can_carry_is_refused_unseen(monkeypatch, key):
    monkeypatch.setenv("MY_VALUE", key)
    with pytest.raises(ValueError, match="variable MY_VALUE holds no key: one is a single line of ASCII") as raised:
        named_generator("openai:m", base_url="http://127.0.0.1:9/v1", key_variable="MY_VALUE")
    assert key not in str(raised.value)


@NEEDS_OPENAI
@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "MY_SERVER"])  # the second only because it is named
def test_the_own_key_is_known_whatever_it_looks_like(monkeypatch, variable):
    plain, address = "0123456789abcdef" * 2, "http://127.0.0.1:9"
    monkeypatch.setenv(variable, plain)

    def refused(made, *arguments, **named):
        with pytest.raises(ValueError, match="what looks like a key") as raised:
            made(*arguments, **named)
        assert plain not in str(raised.value)

    common = {"base_url": f"{address}/v1", "key_variable": variable}
    refused(named_generator("openai:m", **common).check, [f"a cat near {plain}"])
    refused(named_generator, f"openai:{plain}", **common)
    refused(named_generator, "openai:m", base_url=f"{address}/{plain}", key_variable=variable)


def test_the_environment_s_keys_are_taken_out_and_refused_and_its_words_are_not(monkeypatch):
    plain = "0123456789abcdef" * 2
    monkeypatch.setenv("MY_API_KEY", plain)
    with pytest.raises(ValueError, match="`plan` holds what looks like a key"):
        refuse_keys("plan", {"scenes": [f"near {plain}"]})
    assert without_keys(f"wrong key {plain}!") == "wrong key [key]!"
    monkeypatch.setenv("MY_API_KEY", "none")  # what local servers are given
    refuse_keys("plan", "there is none in the meadow")


@NEEDS_OPENAI
def test_an_address_where_nobody_listens_is_refused():
    generator = named_generator("openai:m", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(ValueError, match="nobody answers at 127.0.0.1, port 9.*--base-url"):
        generator.check([])


@pytest.mark.parametrize("address", ["example.org/v1", "ftp://example.org", "http://", "http://host:port/v1"])
def test_what_is_no_address(address):
    with pytest.raises(ValueError, match="`base_url`"):
        check_address(address)


def test_keys_are_taken_out_of_words():
    words = f"Incorrect API key provided: {KEY}, hf_abcdefghijkl or own-secret at https://me:pw@host/v1"
    found = without_keys(words, "own-secret", None)
    assert found == "Incorrect API key provided: [key], [key] or [key] at [address]host/v1"
    assert len(without_keys("x " * 500)) <= 301


@pytest.mark.parametrize("text", [KEY, "Bearer abcdef123", "https://a:b@host", "AIza" + "x" * 30, f"key={KEY}"])
def test_what_looks_like_a_key_is_refused_wherever_it_stands(text):
    for value in (text, {"a": ["b", {"c": f"see {text} there"}]}):
        with pytest.raises(ValueError, match="`here` holds what looks like a key") as raised:
            refuse_keys("here", value)
        assert text not in str(raised.value)
    refuse_keys(
        "here", ["a task-oriented cat", "desk-organisers", "a key-holder", "https://example.org/v1", "sky-blue"]
    )
