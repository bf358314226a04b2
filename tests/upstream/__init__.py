"""Diffusers' own tests of its SDXL pipeline, on ours with image prompts in every call: `python -m tests.upstream`."""
