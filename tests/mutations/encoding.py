"""Edits of what encodes image prompts: images, encoders, resampler."""

EDITS = []
