"""Check every case folder of a folder of recorded vectors: `python -m tests.golden FOLDER`.

Prints case, output, largest difference and tolerance; exits 1 when anything misses, 2 when there is nothing to check.
"""

import json
import sys
from pathlib import Path

import torch

from .case import Case
from .distillation import check_clipself
from .losses import check_kml
from .parts import (
    check_attention,
    check_image_encoder,
    check_local_tokens,
    check_phrase_idx,
    check_resampler,
)
from .whole import check_pipeline, check_relation_lora

CHECKS = {
    "resampler": check_resampler,
    "attention": check_attention,
    "pipeline": check_pipeline,
    "relation_lora": check_relation_lora,
    "local_tokens": check_local_tokens,
    "image_encoder": check_image_encoder,
    "phrase_idx": check_phrase_idx,
    "kml": check_kml,
    "clipself": check_clipself,
}


def check_folder(folder: Path) -> tuple[list[tuple[str, object]], list[str], list[str]]:
    """(case, result) rows, names of cases without a check, and errors that stopped a case."""
    rows, uncovered, errors = [], [], []
    for config in sorted(folder.glob("*/config.json")):
        kind = json.loads(config.read_text()).get("kind")
        if kind not in CHECKS:
            uncovered.append(config.parent.name)
            continue
        case = Case(config.parent)
        try:
            with torch.no_grad():
                CHECKS[kind](case)
        except Exception as error:  # one broken case must not hide the others; it counts as a miss
            errors.append(f"{config.parent.name}: {type(error).__name__}: {error}")
        rows += [(config.parent.name, result) for result in case.results]
    return rows, uncovered, errors


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print(__doc__.strip())
        return 2
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as recorded: the order of a sum changes its last digits
    rows, uncovered, errors = check_folder(Path(arguments[0]))
    torch.set_num_threads(threads)
    for case, result in rows:
        verdict = "MISS" if result.missed else "ok"
        print(f"{case:16} {result.name:58} {result.difference:10.2e}  ≤ {result.tolerance:.1e}  {verdict}")
    for case in uncovered:
        print(f"{case:16} not covered")
    for error in errors:
        print(f"ERROR {error}")
    missed = sum(result.missed for _, result in rows)
    print(f"{len(rows)} outputs compared, {missed} missed, {len(errors)} cases broken, {len(uncovered)} not covered")
    return 2 if not rows and not errors else int(bool(missed or errors))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
