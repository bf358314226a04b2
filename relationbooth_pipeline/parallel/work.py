"""Work shared between processes: a worker class runs over items here, in shards, under torchrun, or on a Ray cluster.

Files are the only shared state. Shards and ranks take every n-th item, so nothing is gathered; Ray hands items out, and
starts what died again.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

MAX_DEATHS = 3  # of one item, before it is given up: it kills its process


class Worker(Protocol):
    """Does one item at a time. Doing a finished item again must do nothing."""

    def __call__(self, item: Any) -> Any: ...


@dataclass(frozen=True)
class Share:
    """This process's part of the items: those whose number is `index` modulo `count`."""

    index: int = 0
    count: int = 1

    @classmethod
    def of(cls, shard: str | None) -> "Share":
        """From `--shard i/n` (i from 0) and from the ranks that accelerate and torchrun set, one within the other.

        Raises:
            ValueError: no i/n with 0 ≤ i < n.
        """
        index, count = 0, 1
        if shard is not None:
            match = re.fullmatch(r"(\d+)/(\d+)", shard)
            if not match or not int(match[1]) < int(match[2]):
                raise ValueError(f"`shard` must be i/n with i from 0 to n − 1, such as 0/4, got {shard!r}.")
            index, count = int(match[1]), int(match[2])
        rank, world = rank_and_world()
        return cls(index * world + rank, count * world)

    def part(self, items: Sequence) -> list:
        return list(items[self.index :: self.count])


def rank_and_world() -> tuple[int, int]:
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def local_device(device: str) -> str:
    """ "auto" on a machine with several GPUs: the one of this process."""
    import torch

    if device == "auto" and torch.cuda.is_available():
        return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
    return device


def wait_for_all() -> None:
    """Until every process of this torchrun is here. Alone: at once."""
    if rank_and_world()[1] == 1:
        return
    import torch.distributed as distributed

    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    # days: a process may have a large picture left when the others are done
    distributed.barrier(distributed.new_group(timeout=timedelta(days=7)))


def check_engine(engine: str, shard: str | None) -> None:
    """Raise a ValueError for an engine that is none, or a share that is named although Ray does all of them."""
    if engine not in ("local", "ray"):
        raise ValueError(f"`--engine` must be local or ray, got {engine!r}.")
    if engine == "ray" and shard is not None:
        raise ValueError("`--engine ray` does all shares; leave `--shard` out, or take `--engine local`.")


def run_here(items: Sequence, worker: Callable[[Any], Any], share: Share) -> Iterator[tuple[Any, Any]]:
    """(item, result) of this process's share, one after the other."""
    for item in share.part(items):
        yield item, worker(item)


def run_on_ray(
    items: Sequence, make_worker: Callable[[], Worker], workers: int, address: str | None = None, gpus: float = 0
) -> Iterator[tuple[Any, Any]]:
    """(item, result) in the order in which they finish, on actors of a Ray cluster that may come and go.

    An actor that dies is started again, and its item goes to whoever is free.

    Args:
        workers: actors. address: of the cluster; None: this machine. gpus: of each actor.
    Raises:
        ValueError: Ray is not installed, or an item killed its process `MAX_DEATHS` times.
    """
    try:
        import ray
        from ray.exceptions import RayActorError
    except ImportError as error:
        raise ValueError("`engine ray` needs the package ray: `pip install 'relationbooth[ray]'`.") from error
    if workers < 1:
        raise ValueError(f"`workers` must be at least 1, got {workers}.")
    if not ray.is_initialized():
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    actor = ray.remote(num_cpus=1, num_gpus=gpus)(_Actor)
    idle, busy = [actor.remote(make_worker) for _ in range(min(workers, len(items)))], {}
    waiting, deaths = list(enumerate(items))[::-1], {}
    while waiting or busy:
        while idle and waiting:
            number, item = waiting.pop()
            taken = idle.pop()
            busy[taken.work.remote(item)] = (taken, number, item)
        ready, _ = ray.wait(list(busy), num_returns=1)
        taken, number, item = busy.pop(ready[0])
        try:
            result = ray.get(ready[0])
        except RayActorError as error:
            deaths[number] = deaths.get(number, 0) + 1
            if deaths[number] == MAX_DEATHS:
                raise ValueError(
                    f"{item!r} ended its process {MAX_DEATHS} times ({error}). Look at Ray's log."
                ) from error
            waiting.append((number, item))
            idle.append(actor.remote(make_worker))
            continue
        except ray.exceptions.RayTaskError as error:
            cause = error.as_instanceof_cause()
            raise ValueError(str(cause.args[0] if cause.args else cause)) from error
        if waiting:
            idle.append(taken)
        else:  # its place may be what an actor waits for that has not begun: a cluster may hold fewer than `workers`
            ray.kill(taken)
        yield item, result


class _Actor:
    def __init__(self, make_worker: Callable[[], Worker]):
        self.make_worker, self.worker = make_worker, None

    def work(self, item: Any) -> Any:
        if self.worker is None:  # here, not in __init__: a cause that has a message then reaches the driver as such
            self.worker = self.make_worker()
        return self.worker(item)
