"""The distribution `relationbooth`: the package `relationbooth_pipeline` and the command `relationbooth`."""

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
# Read, not imported: an import would need torch before it is installed.
VERSION = re.search(r'__version__ = "(.+?)"', (ROOT / "relationbooth_pipeline/__init__.py").read_text())[1]

REQUIRED = [
    "torch>=2.6",
    "diffusers>=0.41",
    "transformers>=5.6",
    "peft>=0.18",
    "safetensors>=0.8",
    "huggingface_hub>=1.32",
    "Pillow>=12.3",
]
# training/requirements.txt is the same list, for those who install nothing but the scripts
LINES = (ROOT / "training/requirements.txt").read_text().splitlines()
TRAINING = [line.partition("#")[0].strip() for line in LINES if not line.startswith("#")]
EXTRAS = {
    "cli": ["typer>=0.16", "rich>=14"],
    "training": TRAINING,
    "test": ["pytest>=8.4", "ruff>=0.14", *TRAINING],
    "open_clip": ["open_clip_torch>=3", "torchvision"],
    "watermark": ["invisible-watermark>=0.2"],
}

setup(
    name="relationbooth",
    version=VERSION,
    description="Own characters that do something together: RelationBooth for diffusers' SDXL pipeline",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=["relationbooth_pipeline", "relationbooth_pipeline.miniature"],
    package_data={"relationbooth_pipeline.miniature": ["weights/**/*"]},
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["relationbooth = relationbooth_pipeline.cli:app"]},
    classifiers=["Programming Language :: Python :: 3", "Topic :: Scientific/Engineering :: Artificial Intelligence"],
)
