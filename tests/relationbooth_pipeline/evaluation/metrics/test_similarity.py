"""CLIP-T, CLIP-R, CLIP-I, DINO and M-DINO against plain loops, on tiny real models."""

import pytest

from relationbooth_pipeline.evaluation.metrics.similarity import ImageSimilarity, TextAlignment
from relationbooth_pipeline.relation_images import open_image

from ..tiny_bench import pair
from .slow_metrics import PICTURES, bench, clip, clip_vector, cosine, dino, dino_vector, text_vector  # noqa: F401


def close(values, expected):
    assert [v.figure for v in values] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    ("protocol", "scaled"), [("relationbench", lambda c: 100 * c), ("custom-diffusion", lambda c: 2.5 * max(c, 0))]
)
def test_clip_t_and_clip_r(models, bench, clip, protocol, scaled):
    case = bench.cases[0]
    found = TextAlignment(clip, protocol).score(bench, case, PICTURES)
    seen = [clip_vector(models["clip"], picture) for picture in PICTURES]
    for name, text in (("CLIP-T", case.prompt), ("CLIP-R", "hugging")):
        close(found[name], [scaled(cosine(vector, text_vector(models["clip"], text))) for vector in seen])


def test_a_case_without_predicate_has_no_clip_r(bench, clip):
    case = pair(prompt="a cat and a bear", predicate=None)
    values = TextAlignment(clip).score(bench, case, PICTURES)["CLIP-R"]
    assert [v.figure for v in values] == [None, None] and "no predicate" in values[0].note


@pytest.mark.parametrize(("protocol", "scale"), [("relationbench", 100), ("custom-diffusion", 1)])
def test_clip_i_dino_and_m_dino_over_all_photos(models, bench, clip, dino, protocol, scale):
    case = bench.cases[0]
    for store, vector, name, product in ((clip, clip_vector, "CLIP-I", False), (dino, dino_vector, "DINO", True)):
        found = ImageSimilarity(store, name, protocol, product).score(bench, case, PICTURES)
        folder, means, products = models["clip" if name == "CLIP-I" else "dino"], [], []
        for picture in PICTURES:
            by_object = []
            for i, names in enumerate(case.references):
                photos = [open_image(bench.photo(case, i, k)) for k in range(len(names))]
                cosines = [cosine(vector(folder, picture), vector(folder, other)) for other in photos]
                by_object.append(sum(cosines) / len(cosines))
            means.append(scale * sum(by_object) / 2)
            products.append(scale * max(by_object[0], 0) * max(by_object[1], 0))
        close(found[name], means)
        if product:
            close(found["M-DINO"], products)
