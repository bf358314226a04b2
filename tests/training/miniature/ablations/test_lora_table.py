"""The tables of RelationLoRAs: rows, shared cases, what is kept; at toy length on the shipped weights."""

from pathlib import Path

import pytest

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from relationbooth_pipeline import miniature
from relationbooth_pipeline.miniature.judges import MiniatureJudges
from training.miniature.ablations import lora_rows
from training.miniature.ablations import lora_table as table
from training.miniature.measure import cases as shared
from training.miniature.stages import relation_loras
from training.miniature.stages.relation_loras import training_arguments

TOY = {"max_train_steps": 1, "train_batch_size": 1, "views_per_triplet": 1}


@pytest.fixture(autouse=True)
def few_triplets(monkeypatch):
    monkeypatch.setattr(relation_loras, "TRIPLETS", 2)


def test_every_row_has_its_folder_and_every_table_its_reference():
    assert len({table.row_folder("root", row, "hugging", 0) for row in table.ROWS}) == len(table.ROWS) == 30
    assert all(reference in rows for rows, reference in table.TABLES.values())
    assert all(table.ROWS[name] == row for rows, _ in table.TABLES.values() for name, row in rows.items())
    assert all(row.drawn_with in table.ROWS for row in table.ROWS.values() if row.drawn_with)


def test_the_table_and_its_second_call(tmp_path, monkeypatch):
    monkeypatch.setitem(shared.GUIDANCE, "num_inference_steps", 2)
    judges, rows = MiniatureJudges.load(), (lora_rows.DEFAULT, "released code", table.EMBEDDING, table.ADAPTER)
    trained = []
    train_one = table.train_one

    def noting(model, folder, *given, **options):
        trained.append((folder, options))
        return train_one(model, folder, *given, **options)

    monkeypatch.setattr(table, "train_one", noting)
    call = (miniature.path(), judges, tmp_path / "table", ["waving"], [3], 2)
    found = table.relation_lora_table(*call, rows=rows, **TOY)
    assert list(found["rows"]) == list(rows)
    assert set(found["differences"]) == {f"{row} − {lora_rows.DEFAULT}" for row in rows[1:]}
    assert all(list(of_pose) == ["waving"] for kind in found.values() for of_pose in kind.values())
    assert [folder.name for folder, _ in trained] == ["waving_3"] * 2
    assert trained[-1][1].items() >= {"kml_weight": 0.1, "local_image_encoder": "none", **TOY}.items()

    def refuse(*given, **options):
        raise AssertionError("trained again")

    for name in ("train_one", "train_relation_embedding", "draw_pictures"):
        monkeypatch.setattr(table, name, refuse)
    assert table.relation_lora_table(*call, rows=rows, **TOY) == found
    assert not table.relation_lora_table(*call, rows=[table.ADAPTER], **TOY)["differences"]


def test_rows_train_and_draw_as_they_say(tmp_path, monkeypatch):
    """A share becomes λ, a number of triplets so many, and a weight draws with another row's file."""
    calls, norms = [], []

    def keypoint_weight(arguments, share, path):
        norms.append(path)
        return 10 * share

    monkeypatch.setattr(table, "keypoint_weight", keypoint_weight)
    monkeypatch.setattr(
        table, "train_one", lambda model, folder, pose, seed, **options: calls.append((folder, options)) or folder / "x"
    )
    for row in ("matching, 10% of the gradient, t ≤ 333", "12 triplets", "1000 steps", "weight 0.7"):
        table.train_row(row, miniature.path(), tmp_path, "dancing", 0, train_batch_size=7)
    (share, many, long, weight) = (options for _, options in calls)
    assert (share["kml_weight"], share["kml_max_timestep"], share["keypoint_loss"]) == (1.0, 333, "matching")
    assert (many["triplets"], many["train_batch_size"], long["max_train_steps"]) == (12, 7, 1000)
    assert calls[3][0] == table.row_folder(tmp_path, lora_rows.DEFAULT, "dancing", 0) and "triplets" not in weight
    for row, pose, seed in (("matching, 30% of the gradient, t ≤ 333", "dancing", 0),
                            ("matching, 30% of the gradient", "dancing", 0),
                            ("denoising, 30% of the gradient", "dancing", 0),
                            ("matching, 30% of the gradient, t ≤ 333", "dancing", 1),
                            ("matching, 30% of the gradient, t ≤ 333", "hugging", 0)):  # fmt: skip
        table.train_row(row, miniature.path(), tmp_path, pose, seed)
    assert norms[0] == norms[1] and len(set(norms)) == 5  # of one loss, pose and seed there is one measure
    argument = training_arguments("model", tmp_path / "run", "dancing", triplets=3)
    folder = Path(argument[argument.index("--train_data_dir") + 1])
    assert len((folder / "metadata.jsonl").read_text().splitlines()) == 3

    class Pipe:
        seen = []

        def load_lora_weights(self, folder, adapter_name):
            self.seen.append((folder, adapter_name))

        def set_adapters(self, name, weight):
            self.seen.append((name, weight))

        def unload_lora_weights(self):
            self.seen.append("unloaded")

    monkeypatch.setattr(table, "draw_pictures", lambda *given: "pictures")
    assert table.draw_row("weight 0.7", Pipe(), [], tmp_path / "x.safetensors") == "pictures"
    assert Pipe.seen == [(str(tmp_path), "relation"), ("relation", 0.7), "unloaded"]


def test_unknown_rows_and_no_seeds_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`rows` must be of 'λ = 1e-3.*got ..no such.."):
        table.relation_lora_table(miniature.path(), None, tmp_path, [], [0], 1, rows=["no such"])
    with pytest.raises(ValueError, match="`seeds` must hold at least one training seed, got none"):
        table.relation_lora_table(miniature.path(), None, tmp_path, [], [], 1)


def test_a_case_averages_over_seeds():
    verdicts = [[{"relation": 0.0}, {"relation": 1.0}], [{"relation": 1.0}, {"relation": 1.0}]]
    assert shared.mean_over_seeds(verdicts) == [{"relation": 0.5}, {"relation": 1.0}]
