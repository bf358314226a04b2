"""Local models: batches that are always the same, one model at a time, and what a killed run had is not drawn again."""

import pytest
from PIL import Image

from relationbooth_pipeline.parallel import Share
from relationbooth_pipeline.triplets.engine import WorkFolder
from relationbooth_pipeline.triplets.engine.asking import Manners
from relationbooth_pipeline.triplets.engine.budget import Caps
from relationbooth_pipeline.triplets.engine.make import Making
from relationbooth_pipeline.triplets.generators import Drawn, Generator, Refused

from .drawn_plan import Halves, contents, small_plan

LOADED = set()


class Painter(Generator):
    """Its pictures depend on the whole batch, as a real model's last digits do."""

    can_edit, batch_size = True, 4

    def __init__(self, name, power=None, refuses="no such words"):
        self.model, self.power, self.refuses, self.batches = name, power, refuses, []

    def settings(self):
        return {"kind": "painter", "model": self.model}

    def draw(self, requests):
        assert not LOADED - {self.model}, "another model is still loaded"
        LOADED.add(self.model)
        if self.power is not None:
            self.power -= 1
            if self.power < 0:
                raise KeyboardInterrupt
        self.batches.append([request.key for request in requests])
        colour = sum(request.seed for request in requests) % 2**24
        return [self._one(request, colour) for request in requests]

    def _one(self, request, colour):
        if self.refuses in request.prompt:
            return Refused("safety_checker", "no")
        picture = Image.new("RGB", request.size, (colour & 255, colour >> 8 & 255, colour >> 16))
        picture.putpixel((0, 0), (request.seed & 255, request.seed >> 8 & 255, request.seed >> 16 & 255))
        return Drawn(picture)

    def free(self):
        LOADED.discard(self.model)


@pytest.fixture
def work(tmp_path):
    LOADED.clear()
    return WorkFolder(tmp_path / "work")


def run(work, drawer, editor, caps=None, say=lambda sentence: None, **changes):
    made = Making(small_plan(**changes), drawer, editor, caps or Caps(), Manners(), Share())
    work.claim(made.claimed())
    return made.run(work, Halves(work), lambda tally: None, say)


def test_a_run_that_broke_off_gives_the_pictures_of_an_unbroken_one(work, tmp_path):
    whole = WorkFolder(tmp_path / "whole")
    found = run(whole, Painter("a"), Painter("b"))
    assert len(found) == 10 and not LOADED
    for power in (2, 0, 1):
        with pytest.raises(KeyboardInterrupt):
            run(work, Painter("a", power=power), Painter("b", power=power))
        LOADED.clear()  # the process ended
    drawer, editor = Painter("a"), Painter("b")
    assert run(work, drawer, editor) == found and contents(work) == contents(whole)
    assert not drawer.batches or [len(batch) for batch in drawer.batches] in ([2], [4, 2])
    drawer, editor = Painter("a"), Painter("b")
    assert run(work, drawer, editor) == found and drawer.batches == editor.batches == []


def test_a_picture_that_is_gone_is_drawn_again_with_its_whole_batch(work):
    found = run(work, Painter("a"), Painter("b"))
    before = contents(work)
    work.picture_path(found[5].target).unlink()
    drawer = Painter("a")
    run(work, drawer, Painter("b"))
    assert [len(batch) for batch in drawer.batches] == [4] and contents(work) == before


def test_what_a_safety_checker_refuses_is_final_and_caps_hold_here_too(work):
    said = []
    found = run(work, Painter("a", refuses="fox"), Painter("b"), Caps(max_images=30), said.append)
    assert len(found) == 5 and said[0].startswith("generate: 5 of 10, 5 refused; 5 pictures counted")
    assert run(work, Painter("a", refuses="fox"), Painter("b"), Caps(max_images=15), said.append) == found


def test_caps_leave_out_the_rest(work):
    said = []
    found = run(work, Painter("a"), Painter("b"), Caps(max_images=12), said.append)
    assert len(found) == 1 and said[-1].startswith("same: 2 of 20, 18 left out by the caps; 12 pictures counted")


def test_an_editor_is_needed_for_the_same_object():
    drawer = Painter("a")
    drawer.can_edit = False
    with pytest.raises(ValueError, match="`a` edits no pictures.*--same-generator"):
        Making(small_plan(), drawer, drawer, Caps(), Manners(), Share())
    Making(small_plan(), drawer, drawer, Caps(), Manners(), Share(), stages=("generate",))
