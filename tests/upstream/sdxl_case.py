"""Copied beside diffusers' SDXL tests and run there: the same tests on `RelationBoothPipeline`, with image prompts."""

import functools
import importlib.util
import os
from unittest import mock

import diffusers

from relationbooth_pipeline import LocalImageEncoder, RelationBoothPipeline

from . import test_stable_diffusion_xl as stock

spec = importlib.util.spec_from_file_location("relationbooth_tiny", os.environ["RELATIONBOOTH_TINY"])
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)


class Pipeline(RelationBoothPipeline):
    """Some tests repeat the prompt alone: every prompt then gets the same image prompts."""

    @functools.wraps(RelationBoothPipeline.__call__)
    def __call__(self, *args, image_prompts=None, phrases=None, **kwargs):
        prompt = args[0] if args else kwargs.get("prompt")
        if isinstance(prompt, list) and image_prompts and not isinstance(image_prompts[0], list):
            image_prompts, phrases = [image_prompts] * len(prompt), [phrases] * len(prompt)
        return super().__call__(*args, image_prompts=image_prompts, phrases=phrases, **kwargs)


diffusers.pipelines.Pipeline = Pipeline  # one test looks the class up there by its name


class TestStock(stock.StableDiffusionXLPipelineFastTests):
    """The stock pipeline, as a peer."""


class TestOurs(stock.StableDiffusionXLPipelineFastTests):
    pipeline_class = Pipeline
    batch_params = stock.StableDiffusionXLPipelineFastTests.batch_params | {"image_prompts", "phrases"}

    def setUp(self):
        super().setUp()
        patch = mock.patch.object(stock, "StableDiffusionXLPipeline", Pipeline)  # many tests name the class itself
        patch.start()
        self.addCleanup(patch.stop)

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
