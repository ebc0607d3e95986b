"""Training an encoder: data flows from `data` through `loop` into a run folder."""

import os

# GNU OpenMP's threads spin for 300,000 turns while they wait for each other, on cores that another
# program may want: training beside one came to a standstill. 1,000 is what it takes itself where it
# knows that cores are short. To be set before torch is imported (scripts/bench_training.py).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
