"""Write ``metrics.md``: every metric of training and of reports with unit and meaning, from the tables that name them.

    python docs/generate_metrics.py

Tests compare the page with what this would write, and the tables with what a run and an evaluation wrote.
"""

from collections.abc import Mapping
from pathlib import Path

from amarl_jax.evaluation.baselines import COLUMNS
from amarl_jax.evaluation.report import ALIASES, UNITS
from amarl_jax.evaluation.training_metrics import FINITE, LEARNING, OF_ACTORS, ROLLOUT, UPDATE
from amarl_jax.lanes.behaviour import CONDUCT

DOCS = Path(__file__).resolve().parent
HEAD = """# Every metric

Written by `python docs/generate_metrics.py`. Units are those of [the game](game.md): a reward unit of the execution
agent is `is_unit_ticks` ticks per parent lot; information is in nats, of which a fair coin holds ln 2 = 0.693.

## While a run trains

`metrics.jsonl` has one object per update, and per lane of a sweep. TensorBoard and W&B show the same with the phase
last, as `execution/shortfall/phase_a`, all losses and `finite/` under `losses/`, the clock under `speed/`, and what was
measured when the run had trained under `held_out/`. The learning curves and an episode are pictures there, at the end
and at the checkpoints of a run long enough that each takes 1% of its time, and so are, at the end, the figures of a
sweep; settings are shown as hyperparameters, and for a lane of a sweep its lambda, seed and arm. To look: `pip install
-e ".[tensorboard]"`, then `tensorboard --logdir runs/`; W&B with the extra `wandb` and
`--config.logging.use_wandb=True`.
"""
ROLLOUTS = """
### What a phase played

With `phase_a/` before the name, where execution learns, and `phase_b/`, where maker and arbitrageur do; `joint/` where
`training.alternating.enabled` is off. Measured on the episodes that the phase played, before it learned from them, so
nothing here was fitted to them. Means over episodes.
"""
LEARNT = """
### What it learned from them

Names begin with the phase again; each phase has the networks that it trains.
"""
REPORTS = """
## When it has trained

`evaluation.json` of a run holds the metrics with a standard error; `python -m amarl_jax.evaluate` writes them all to
`eval_metrics.json` with `eval/` before the name and the ends of their 95% interval behind it (`_lower`, `_upper`), and
to `eval_metrics.csv` with unit and meaning. All are of fresh episodes that nothing was fitted to. `evaluation.json`
has the two bounds of the exact information as `information/exact_nats_lower` and `..._upper`.
"""
THEIRS = """
What the reference system calls some of them, in `eval_metrics.json` only:

| its name | here |
|---|---|
"""
LANES = """
## Of a sweep's lanes

`lanes.csv` has one row per lane, with `_stderr` behind the name for the standard error.

| column | is |
|---|---|
"""


def table(metrics: Mapping[str, tuple[str, str]]) -> str:
    """Rows of name, unit and meaning."""
    rows = [f"| `{name}` | {unit} | {_cell(meaning)} |" for name, (unit, meaning) in metrics.items()]
    return "\n".join(["| metric | unit | meaning |", "|---|---|---|", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def page() -> str:
    """The Markdown of ``metrics.md``."""
    actors = {f"AGENT/{name}": about for name, about in OF_ACTORS.items()}
    parts = [HEAD, table(UPDATE | {"finite/NETWORK": FINITE}), "", ROLLOUTS.lstrip("\n"), table(ROLLOUT), LEARNT]
    parts += [table(LEARNING | actors), REPORTS, table(UNITS)]
    lanes = [f"| `{column}` | `{name}` |" for column, name in COLUMNS.items()]
    lanes += [f"| `{column}` | {meaning} |" for column, meaning in _conduct().items()]
    theirs = [f"| `{name}` | `{ours}` |" for name, ours in ALIASES.items()]
    return "\n".join(parts) + "\n" + THEIRS + "\n".join(theirs) + "\n" + LANES + "\n".join(lanes) + "\n"


def _conduct() -> dict[str, str]:
    about = {
        "n_episodes": "fresh episodes it was measured on",
        "doubt": "why its information is not to be relied on; empty where it is",
    }
    return {"kl_nats": "`information/fresh_kl_nats`", **CONDUCT, **about}


if __name__ == "__main__":
    (DOCS / "metrics.md").write_text(page())
