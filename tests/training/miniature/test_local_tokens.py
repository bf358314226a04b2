"""Who reads local tokens: the rows differ in them alone, and are the table's."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from relationbooth_pipeline import RelationBoothPipeline, miniature
from training.miniature import local_tokens as program
from training.miniature.measure import cases


def test_rows_differ_in_their_local_tokens_alone():
    pipe = RelationBoothPipeline.from_pretrained(miniature.path())
    photos = cases.draw_cases("hugging", 1, 0)[0]["image_prompts"]
    encoded = pipe.encode_image_prompts(photos, ["cat", "bear"])
    changed = {name: change(encoded) if change else encoded for name, change in program.ROWS.items()}
    exchanged, without = changed["the two characters' exchanged"], changed["without"]
    assert torch.equal(exchanged.local_tokens[:, 0], encoded.local_tokens[:, 1]) and without.local_tokens is None
    assert torch.equal(exchanged.local_tokens[:, 1], encoded.local_tokens[:, 0])
    again = program.ROWS["the two characters' exchanged"](exchanged)
    assert torch.equal(again.local_tokens, encoded.local_tokens)
    assert all(torch.equal(one.image_tokens, encoded.image_tokens) for one in changed.values())


def test_the_program_draws_every_row_and_compares_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(cases.GUIDANCE, "num_inference_steps", 1)
    drawn = []

    def draw(*arguments, draw=cases.draw_pictures, **named):
        drawn.append(draw(*arguments, **named))
        return drawn[-1]

    monkeypatch.setattr(program, "draw_pictures", draw)
    program.main(["--poses", "hugging", "--count", "2", "--output", str(tmp_path / "table.json")])
    table = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert list(table["rows"]) == [program.RENDERS, *program.ROWS]
    assert len(table["differences"]) == len(program.ROWS) and all(program.WITH in name for name in table["differences"])
    assert len(drawn) == 3 and not any(np.array_equal(a, b) for a, b in zip(drawn, drawn[1:]))
    assert "without" in capsys.readouterr().out


@pytest.mark.parametrize("flags, told", [
    (["--count", "0"], "`--count` must be at least 1, got 0"),
    (["--output", "nowhere/table.json"], "`--output` must lie in a folder that exists, got 'nowhere/table.json'"),
    (["--model", "without"], "`--model` must hold an adapter with local tokens, got 'without'"),
])  # fmt: skip
def test_what_cannot_be_compared_is_refused_before_it_is_drawn(flags, told, monkeypatch, capsys, tmp_path):
    class WithoutLocalTokens:
        local_image_encoder = None

        def to(self, device):
            return self

    monkeypatch.setattr(program, "draw_pictures", lambda *given, **options: pytest.fail("it was drawn"))
    monkeypatch.setattr(program.RelationBoothPipeline, "from_pretrained", lambda model: WithoutLocalTokens())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        program.main(flags)
    assert told in capsys.readouterr().err
