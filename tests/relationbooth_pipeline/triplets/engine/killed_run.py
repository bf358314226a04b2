"""Runs of the small plan, each in a fork of a process that has imported everything once.

Reads "folder address" a line; prints the number of each run's process, then how it ended.
"""

import os
import sys
from pathlib import Path

from relationbooth_pipeline.triplets.engine import WorkFolder
from tests.forked import own_locks

from .drawn_plan import making, run


def main():
    import openai  # noqa: F401 (once, not in every fork)

    print("ready", flush=True)
    for line in sys.stdin:
        folder, address = line.split()
        child = os.fork()
        if child == 0:
            own_locks()
            try:
                run(WorkFolder(Path(folder)), making(address, timeout=20))
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    main()
