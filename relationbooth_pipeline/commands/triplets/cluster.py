"""`--engine ray`: the shares of a work folder's candidates on actors of a Ray cluster, as `--shard i/n` does them."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ...parallel import Share

Engine = Annotated[str, typer.Option(help="local (also under torchrun), or ray: a share for each of its actors.")]
Actors = Annotated[int, typer.Option(min=1, help="Of Ray: processes at a time.")]
RayAddress = Annotated[
    str | None, typer.Option("--ray-address", "--ray_address", help="Of a Ray cluster. Default: this machine.")
]
Gpus = Annotated[float, typer.Option(help="Of each actor; half a GPU is 0.5.")]


@dataclass(frozen=True)
class Cluster:
    """Where the shares are done.

    Raises:
        ValueError: no such engine, Ray is not installed, or a share is named although Ray does all of them.
    """

    engine: str
    actors: int
    address: str | None
    gpus: float
    shard: str | None

    def __post_init__(self) -> None:
        from ...parallel import check_engine

        check_engine(self.engine, self.shard)
        if self.is_ray and importlib.util.find_spec("ray") is None:
            raise ValueError("`--engine ray` needs the package ray: `pip install 'relationbooth[ray]'`.")

    @property
    def is_ray(self) -> bool:
        return self.engine == "ray"

    def run(self, job: "Callable[[Share], list[str]]") -> None:
        """Do every share, and tell what each said.

        An actor that dies is started again and takes its share up where the ledger and the records end. What lets one
        share go no further leaves the others to their end: nobody dies with a request under way.

        Raises:
            ValueError: what the shares that could not go on said.
        """
        from ...parallel import Share, run_on_ray

        shares, faults = [Share(index, self.actors) for index in range(self.actors)], {}
        for share, (said, fault) in run_on_ray(shares, _Maker(job), self.actors, self.address, self.gpus):
            for sentence in said:
                typer.echo(f"share {share.index} of {share.count}: {sentence}")
            if fault is not None:
                faults[fault] = None
        if faults:
            raise ValueError("\n".join(faults))


class _Maker:
    """Makes an actor's worker: (what its share said, why it could not go on)."""

    def __init__(self, job: "Callable[[Share], list[str]]"):
        self.job = job

    def __call__(self) -> "Callable[[Share], tuple[list[str], str | None]]":
        def work(share: "Share") -> tuple[list[str], str | None]:
            try:
                return self.job(share), None
            except ValueError as error:
                return [], str(error)

        return work
