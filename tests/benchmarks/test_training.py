import pytest
import torch
import torch.nn.functional as F

from benchmarks.allocations import peak_allocated
from benchmarks.training import main, step_bytes
from benchmarks.training_models import TrainingComparison

MIB = 2**20


def test_the_peak_counts_what_is_alive_at_once():
    def build():
        held = torch.empty(MIB, dtype=torch.uint8)

        def run():
            for _ in range(3):  # freed each time
                torch.empty(2 * MIB, dtype=torch.uint8)
            view = held[: MIB // 2].view(2, -1)  # no bytes of its own
            return view

        return run

    assert peak_allocated(build) == 3 * MIB


def test_attention_is_counted_as_a_fused_kernel():
    def build():
        query = torch.empty(1, 1, 1024, 64, requires_grad=True)
        return lambda: F.scaled_dot_product_attention(query, query, query).sum().backward()

    tensor = 4 * 1024 * 64
    assert 4 * tensor < peak_allocated(build) < 8 * tensor < 4 * 1024**2


def test_gradient_checkpointing_saves_memory_and_more_pixels_cost_it():
    plain, checkpointed = (step_bytes("tiny", 16, flag) for flag in (False, True))
    assert checkpointed < plain < step_bytes("tiny", 32, False)


def test_what_is_cached_is_what_is_encoded():
    comparison = TrainingComparison("tiny", "cpu")
    without, fresh = (comparison.encode(local) for local in (False, True))
    torch.testing.assert_close(without.ip_hidden_states, comparison.cached.ip_hidden_states)
    assert any(not torch.equal(a, b) for a, b in zip(without.ip_hidden_states.values(),
                                                     fresh.ip_hidden_states.values()))  # fmt: skip


def test_the_program_writes_its_figures(tmp_path, capsys):
    assert main(["--sizes", "tiny", "--rounds", "2", "--output", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr().out
    assert "uncached, local tokens" in printed and "gradient checkpointing" in printed
    assert (tmp_path / "out.json").stat().st_size > 500
    with pytest.raises(SystemExit):
        main(["--rounds", "0"])
