"""Write the cases: `python -m tests.golden.own FOLDER`; `tests/golden/data` holds what it wrote."""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from . import attention, local_tokens, losses, resampler

CASES = {"attention": attention, "kml": losses, "local_tokens": local_tokens, "resampler": resampler}


def write(folder: Path) -> None:
    """Every case as `config.json`, `data.safetensors` and, where it has some, `weights.safetensors`."""
    for name, module in CASES.items():
        config, weights, data = module.case()
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        for file, arrays in (("weights", weights), ("data", data)):
            if arrays:
                save_file({key: stored(array) for key, array in arrays.items()}, folder / name / f"{file}.safetensors")


def stored(array: np.ndarray) -> np.ndarray:
    """As it is kept: what was computed in float64 rounded once."""
    return np.array(array, dtype=np.float32 if array.dtype == np.float64 else array.dtype, order="C")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    write(Path(sys.argv[1]))
