"""Break laws on purpose, one at a time: `python -m tests.mutations [NAME …] [--random N [--seed S]]`.

Tries the edits whose name or file contains a NAME (all of them without one), or N random ones of these. Prints a line
for each; exits 1 when one survives or could not be tried.
"""

import argparse
import random
import sys

from .edits import EDITS
from .runner import CAUGHT, verdicts


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m tests.mutations", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="part of an edit's name or file")
    parser.add_argument("--random", type=int, metavar="N", help="try N of them only")
    parser.add_argument("--seed", type=int, help="of the choice; default: another at every run")
    args = parser.parse_args(arguments)
    chosen = [e for e in EDITS if not args.names or any(name in e.name or name in e.file for name in args.names)]
    if not chosen:
        parser.error(f"no edit's name or file contains {' or '.join(args.names)}")
    if args.random is not None:
        seed = random.randrange(10**6) if args.seed is None else args.seed
        chosen = random.Random(seed).sample(chosen, min(args.random, len(chosen)))
        print(f"seed {seed}")
    missed = 0
    for edit, verdict in verdicts(chosen):
        missed += verdict != CAUGHT
        print(f"{verdict:8} {edit.file}: {edit.name}", flush=True)
    print(f"{len(chosen)} edits tried, {missed} not caught")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
