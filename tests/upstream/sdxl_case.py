"""Copied beside diffusers' SDXL tests and run there: the same tests on `RelationBoothPipeline`, with image prompts."""

import importlib.util
import os

import diffusers

from relationbooth_pipeline import LocalImageEncoder, RelationBoothPipeline

from .test_stable_diffusion_xl import StableDiffusionXLPipelineFastTests as Stock  # noqa: F401 (the peer)

spec = importlib.util.spec_from_file_location("relationbooth_tiny", os.environ["RELATIONBOOTH_TINY"])
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)


diffusers.pipelines.RelationBoothPipeline = RelationBoothPipeline  # one test looks the class up there by its name


class TestStock(Stock):
    """The stock pipeline, as a peer."""


class TestOurs(Stock):
    pipeline_class = RelationBoothPipeline
    batch_params = Stock.batch_params | {"image_prompts", "phrases"}

    def get_dummy_components(self, *args, **kwargs):
        components = super().get_dummy_components(*args, **kwargs)
        return {
            **components,
            "relation_adapter": tiny.tiny_adapter(components["unet"]),
            "image_prompt_encoder": tiny.tiny_vision(),
            "local_image_encoder": tiny.tiny_vision(LocalImageEncoder, seed=5),
        }

    def get_dummy_inputs(self, *args, **kwargs):
        inputs = super().get_dummy_inputs(*args, **kwargs)
        return {**inputs, "image_prompts": [tiny.photo(1), tiny.photo(2)], "phrases": ["cat", "bear"]}

    def _modify_inputs_for_ip_adapter_test(self, inputs):
        inputs = super()._modify_inputs_for_ip_adapter_test(inputs)
        # Both read the parallel branch and are refused together.
        return {name: value for name, value in inputs.items() if name not in ("image_prompts", "phrases")}


del Stock  # or pytest would collect it a third time
