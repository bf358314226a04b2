"""All of the distribution is described in pyproject.toml."""

from setuptools import setup

setup()
