"""Write ``README.md`` of the larger markets from ``lanes.csv`` and ``pieces.json``.

python experiments/larger_markets/report.py
"""

import argparse
import sys
from pathlib import Path

from amarl_jax.lanes.table import read_lanes

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # pieces.py and arm_tables.py lie beside this folder
import pieces  # noqa: E402
from arm_tables import arm_table  # noqa: E402

STEPS_PER_UPDATE = 49_920  # 4 episodes of 390 steps in 32 environments
HEAD = """# The same in larger markets

Cost and exact information at five penalties, charged for what leaks, from the loud start, in the market of
`configs/lambda_sweep.py` with the debug networks (`lean`) and in that of `configs/default.py` with the full ones
(`default`). Means over seeds; ± is half of a 95% interval over seeds (Student's t), or, of one seed, over the episodes
of its measurement. Columns as in [the main sweep](../main_sweep/README.md).
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=HERE, help="holds lanes.csv and pieces.json")
    given = parser.parse_args()
    table = read_lanes(given.folder / "lanes.csv")
    lines = [HEAD]
    for arm in table.arms():
        lines += arm_table(table, arm)
    done = pieces.read_pieces(given.folder)
    foot = pieces.foot(done, "larger_markets", STEPS_PER_UPDATE)
    (given.folder / "README.md").write_text("\n".join([*lines, *foot]) + "\n")


if __name__ == "__main__":
    main()
