"""What a run says when it ends: its policies measured on fresh episodes, as a table and as ``evaluation.json``."""

import math
from typing import Any

import jax

from amarl_jax.config import Experiment
from amarl_jax.evaluation.frozen import play_on_cores
from amarl_jax.evaluation.metrics import Evaluation, Scale, evaluate_summaries
from amarl_jax.host.provenance import provenance
from amarl_jax.host.stages import stage
from amarl_jax.host.workdir import Run
from amarl_jax.learn.hypers import LearnSpec
from amarl_jax.learn.players import players
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState
from amarl_jax.posterior.exact import why_unread
from amarl_jax.types import Array

SOURCES_AGREE_NATS = 0.02  # the critic and the belief may differ by this much before a run says so


def evaluate_state(key: Array, state: TrainState, setup: Setup, experiment: Experiment) -> Evaluation:
    """Held-out metrics of a learner: new keys, a reader that knows its policy, and a detector trained from scratch."""
    key_play, key_detector = jax.random.split(key)
    settings, game = experiment.run, setup.game
    with stage(f"playing {settings.eval_episodes:,} fresh episodes", verbose=settings.verbose):
        played = play_on_cores(key_play, state, setup, settings.eval_episodes, exact=settings.exact)
    scale = Scale.of(setup.params, game.market_spec)
    with stage("training a fresh detector on them", verbose=settings.verbose):
        evaluation = evaluate_summaries(key_detector, played.summary, scale, played.exact)
    return evaluation._replace(unread=why_unread(players(state, game).execution, game.noise_law), trace=played.trace)


def closing_document(run: Run, evaluation: Evaluation) -> dict[str, Any]:
    """Content of ``evaluation.json``, with its provenance."""
    return {
        "provenance": provenance(run.config.to_dict(), run.experiment.run.seed),
        "n_episodes": evaluation.n_episodes,
        "n_informed": evaluation.n_informed,
        "n_read_exactly": evaluation.n_read,
        "metrics": {name: estimate._asdict() for name, estimate in evaluation.metrics.items()},
    }


def critic_name(learn: LearnSpec) -> str:
    """Name of the critic for a reader: its estimator's, as the setting has it."""
    return "MINE" if learn.mi_estimator == "mine" else learn.mi_estimator


def closing_rows(evaluation: Evaluation, learn: LearnSpec) -> tuple[str, list[tuple[str, str, str]]]:
    """Title and rows of the closing table; ``learn`` says which critic was trained, and what the trader paid for."""
    metrics = evaluation.metrics
    critic, claimed = "of a critic that prices nothing", "claimed at the horizon"
    if learn.leakage_source == "mine":
        critic = "the critic that prices the leakage"
    elif learn.leakage_source == "belief":
        claimed += ", the price of the leakage"
    wanted = (
        ("implementation shortfall", "execution/shortfall_ticks", "ticks per parent lot, remainder included"),
        ("", "execution/shortfall_bps", "the same in basis points of the opening mid"),
        ("completion", "execution/completion", "share of the parent order"),
        *_exact_rows(evaluation),
        ("fresh detector", "information/fresh_nats", f"nats, held out{_share(evaluation, 'fresh')}"),
        ("", "information/fresh_accuracy", "its accuracy, held out"),
        (critic_name(learn), "information/mine_nats", f"nats, {critic}{_share(evaluation, 'mine')}"),
        ("maker's belief", "information/belief_nats", f"nats {claimed}{_share(evaluation, 'belief')}"),
        ("", "information/belief_accuracy", "its accuracy"),
        ("spread", "market/spread_ticks", "ticks"),
        ("maker PnL", "maker/pnl_tick_lots", "tick-lots per episode, before adverse selection"),
        (
            "maker's adverse selection",
            "maker/adverse_selection_tick_lots",
            "tick-lots per episode, to be taken off; the rest is marked to V",
        ),
        ("arbitrageur PnL", "arbitrageur/pnl_tick_lots", "tick-lots per episode, marked to V"),
    )
    rows = [
        (name, f"{metrics[key].value:.3f} +- {metrics[key].stderr:.3f}" if key else "-", unit)
        for name, key, unit in wanted
    ]
    title = f"\n{evaluation.n_episodes} fresh episodes, {evaluation.n_informed} informed; +- is one standard error"
    return title, rows


def _exact_rows(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Rows of the exact information with its bracket, or of why there is none."""
    metrics = evaluation.metrics
    if "information/exact_nats" not in metrics:
        return [("information", "", evaluation.unread or "not read")]
    lower, upper = (metrics[f"information/exact_nats_{end}"].value for end in ("lower", "upper"))
    of = f"nats of {metrics['information/bound_nats'].value:.3f}"
    how = f"exact, {evaluation.n_read} episodes: {lower:.3f} from below, {upper:.3f} from above"
    if math.isnan(upper):
        how = "a lower bound by a misspecified model, the law fitted to the recorded noise"
    return [
        ("information", "information/exact_nats", f"{of}, {how}"),
        ("accuracy", "information/exact_accuracy", "informed or not, of whoever knows the policy"),
    ]


def _share(evaluation: Evaluation, detector: str) -> str:
    """Text on the share of the information that a detector finds; empty where it is unknown."""
    share = evaluation.metrics.get(f"information/{detector}_efficiency")
    return "" if share is None or not math.isfinite(share.value) else f", {share.value:.0%} of the information"


def warn_if_sources_disagree(evaluation: Evaluation, learn: LearnSpec) -> None:
    """Print one line if critic and belief differ, on episodes neither trained on, by more than 0.02 nats."""
    critic, belief = (evaluation.metrics[f"information/{name}_nats"].value for name in ("mine", "belief"))
    if abs(critic - belief) > SOURCES_AGREE_NATS:
        said = f"{critic_name(learn)} claims {critic:.3f} nats and the maker's belief {belief:.3f}"
        print(f"warning: held out, {said}: one of them lags")
