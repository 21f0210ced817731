"""Runs seeds and prints what failed, and how often each fault met each await point.

python -m tests.simulation 0 20000
python -m tests.simulation 8713            # one seed, with its trace's end
"""

import sys

from tests.simulation.report import failures, run_seeds, table, unmet
from tests.simulation.simulation import run_seed, told

if __name__ == "__main__":
    numbers = [int(one) for one in sys.argv[1:]]
    if len(numbers) == 1:
        print(told(run_seed(numbers[0]), 200))
    else:
        found = run_seeds(range(*numbers), most=10)
        print("\n".join(table(found)))
        print("\n".join(f"{kind} never met {point}" for kind, point in unmet(found)))
        print(failures(found))
        sys.exit(bool(found.failed))
