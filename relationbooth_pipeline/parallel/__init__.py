"""Work shared between processes and machines; files are the only shared state."""

from .work import Share, check_engine, local_device, rank_and_world, run_here, run_on_ray, wait_for_all

__all__ = ["Share", "check_engine", "local_device", "rank_and_world", "run_here", "run_on_ray", "wait_for_all"]
