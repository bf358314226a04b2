"""One thread a process: the models are tiny, and threads without a free core wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, after this file
