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


class ImageToImage(diffusers.StableDiffusionXLImg2ImgPipeline):
    """Diffusers' own, built from all components as the tests do, and drawn through as our users are told to."""

    @functools.wraps(diffusers.StableDiffusionXLImg2ImgPipeline.__init__)
    def __init__(self, **components):
        ours = Pipeline(**components)
        super().__init__(**ours.sdxl_components)
        self.ours = ours

    @functools.wraps(diffusers.StableDiffusionXLImg2ImgPipeline.__call__)
    def __call__(self, *args, image_prompts=None, phrases=None, **kwargs):
        if image_prompts is None:
            return super().__call__(*args, **kwargs)
        return self.ours.draw_through(self, *args, image_prompts=image_prompts, phrases=phrases, **kwargs)


class TestStock(stock.StableDiffusionXLPipelineFastTests):
    """The stock pipeline, as a peer."""


class TestOurs(stock.StableDiffusionXLPipelineFastTests):
    pipeline_class = Pipeline
    batch_params = stock.StableDiffusionXLPipelineFastTests.batch_params | {"image_prompts", "phrases"}

    def setUp(self):
        super().setUp()
        # Many tests name the classes themselves.
        for name, ours in (("StableDiffusionXLPipeline", Pipeline), ("StableDiffusionXLImg2ImgPipeline", ImageToImage)):
            patch = mock.patch.object(stock, name, ours)
            patch.start()
            self.addCleanup(patch.stop)
        self.are_encoded = False

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
        image_prompts, phrases = [tiny.photo(1), tiny.photo(2)], ["cat", "bear"]
        if self.are_encoded:
            pipe = Pipeline(**self.get_dummy_components())
            return {**inputs, "image_prompts": pipe.encode_image_prompts(image_prompts, phrases)}
        return {**inputs, "image_prompts": image_prompts, "phrases": phrases}

    def test_encode_prompt_works_in_isolation(self):
        """The text encoders go, so image prompts and phrases are encoded before, as the prompt is."""
        self.are_encoded = True
        super().test_encode_prompt_works_in_isolation()

    def _modify_inputs_for_ip_adapter_test(self, inputs):
        inputs = super()._modify_inputs_for_ip_adapter_test(inputs)
        # Both read the parallel branch and are refused together.
        return {name: value for name, value in inputs.items() if name not in ("image_prompts", "phrases")}
