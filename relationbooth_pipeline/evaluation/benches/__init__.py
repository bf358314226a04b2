"""Readers that turn a user's own downloads, or what ships with the package, into cases. No photo is redistributed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..cases import Case, CaseFile, read_cases
from .customconcept import custom_concept
from .dreambench import dreambench, dreambench_json
from .miniature import miniature_bench
from .msbench import ms_bench
from .relationbench import draw_cases
from .xverse import xverse_bench


@dataclass(frozen=True)
class Bench:
    """How a bench is read.

    Attributes:
        sources: names of what the reader needs, in order; in brackets: may be left out.
        read: gets the sources (and `seed=`, `count=` where `drawn`), gives cases with absolute photos.
        drawn: cases are drawn from a seed.
    """

    sources: tuple[str, ...]
    read: Callable[..., list[Case]]
    drawn: bool = False


BENCHES = {
    "relationbench": Bench(("dreambench", "customconcept101"), draw_cases, drawn=True),
    "dreambench": Bench(("folder",), dreambench),
    "dreambench-json": Bench(("list",), dreambench_json),
    "customconcept101": Bench(("list", "[images]"), custom_concept),
    "msbench": Bench(("images", "prompts"), ms_bench),
    "xversebench": Bench(("list", "images", "[questions]"), xverse_bench),
}


def read_bench(name: str, sources: list[Path], seed: int = 0, count: int = 100) -> list[Case]:
    """Cases of a public bench from the user's copy of it.

    Args:
        sources: paths, as `BENCHES[name].sources` says. seed, count: of benches that are drawn.
    Raises:
        ValueError: an unknown bench, a wrong number of sources, or what the reader finds.
    """
    if name not in BENCHES:
        raise ValueError(f"`bench` must be one of {', '.join(BENCHES)}, got {name!r}.")
    bench = BENCHES[name]
    needed = [s for s in bench.sources if not s.startswith("[")]
    if not len(needed) <= len(sources) <= len(bench.sources):
        raise ValueError(f"the bench {name} is read from {' '.join(bench.sources)}, got {len(sources)} path(s).")
    return bench.read(*sources, **({"seed": seed, "count": count} if bench.drawn else {}))


def open_cases(bench: str) -> CaseFile:
    """Cases by name: "miniature", a case file, or a folder with `cases.jsonl`.

    Raises:
        ValueError: neither; a public bench's name is told how to become a case file.
    """
    if bench == "miniature":
        return miniature_bench()
    if bench in BENCHES:
        raise ValueError(
            f"the bench {bench} is made from your own download: `relationbooth evaluate cases {bench} "
            f"{' '.join(BENCHES[bench].sources)} --output cases.jsonl`, then name that file."
        )
    return read_cases(bench)
