"""Every crop of a step weighs the same, however many its picture has."""

import pytest
import torch

from tests.tiny import photo
from training.encoder.crop_pictures import CropPlan, crop_batch


@pytest.mark.parametrize("step", range(4))
def test_pictures_weigh_as_many_crops_as_they_have(step):
    plan = CropPlan(crop_size=8, image_size=16, batch_size=4)
    batch = crop_batch([photo(i) for i in range(4)], list("abcd"), plan, step, 0)
    assert len(set(batch.counts)) > 1 and len(batch.crops) == sum(batch.counts)
    torch.testing.assert_close(batch.shares, torch.tensor([count / sum(batch.counts) for count in batch.counts]))
