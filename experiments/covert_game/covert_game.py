"""The learner on the covert game, drawn over both exact curves: deterministic and randomising trader.

    python experiments/covert_game/covert_game.py            # about an hour on one core
    python experiments/covert_game/covert_game.py --redraw   # the figure from the JSON that is there

Every lane is a whole run from a loud or from a quiet start. What is reported of it is the mixture of the policies of
the last quarter of its updates, and everything about that mixture but the claim of the MI critic is computed by
quadrature, what exploration adds to D taken for Normal.

Both arms play the same number of steps: as many updates of as many episodes of two steps, in which a decision is a
large part of the episode and its gradient clear. They differ in more than the private number. What the deterministic
trader explores is noise of D, which would be a mixed strategy, so it explores less. The randomising trader's first
policy is a steep threshold of the private number: a shallow one makes many episodes neither loud nor quiet, which costs
more than either, and its own optimum has fewer loud ones.
"""

import argparse
import itertools
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy import special

from amarl_jax.covert import learner as covert
from amarl_jax.covert.game import CovertGame, CovertParams
from amarl_jax.host.provenance import provenance
from amarl_jax.learn.hypers import Hypers, LearnSpec
from amarl_jax.theory.deterministic import best_leverage, jump, linear_haste
from amarl_jax.theory.gaussian_channel import (
    Channel,
    inflection,
    information,
    log_likelihood_ratio,
    noise_density,
    reading_grid,
)
from amarl_jax.theory.randomised import best_mixture
from amarl_jax.trees import as_arrays

HERE = Path(__file__).parent
CHANNEL = Channel()
CONFIG = {
    "max_leverage": 4.0,
    "penalties": [0.6, 1.0, 1.4, 1.8, 2.2, 2.6, 3.0],
    "seeds": 4,
    "averaged_share": 0.25,  # of the updates, the last ones
    "training": {"horizon": 2, "n_envs": 2048, "n_updates": 1500},  # of every arm
    "arms": {
        "deterministic": {
            "private_randomiser": 0.0,
            "slope": 0.5,  # of the first policy in the private number
            "starts": {"quiet": -1.5, "loud": 1.5},  # latent of an untrained policy
            "log_std": -1.9,
            "gae_decay": 0.95,
        },
        "randomising": {
            "private_randomiser": 1.0,
            "slope": 2.0,
            "starts": {"quiet": -6.0, "loud": 6.0},  # of N(0, 1) private numbers, above 1 or above -1 loud
            "log_std": -0.2,
            "gae_decay": 0.0,
        },
    },
    "learn": {"n_epochs": 4, "n_minibatches": 2, "n_mine_steps": 16},
    "hypers": {
        "lr_actor": 0.006,
        "lr_critic": 0.003,
        "lr_mine": 0.02,
        "lr_final_fraction": 0.05,
        "entropy_weight": 0.0,
        "discount": [1.0, 1.0, 1.0],
    },
    "lanes_per_chunk": 14,
}
HASTE = linear_haste(CONFIG["max_leverage"])
BLACK, BLUE, ORANGE, GREEN = "black", "#0072B2", "#D55E00", "#009E73"
START_STYLE = {"quiet": ("^", BLUE), "loud": ("v", ORANGE)}


def mixture_information(mean, noise):
    """I of the law of D that is an even mixture of Normals of these means and deviations, nats, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    support = np.maximum(mean[:, None] + noise[:, None] * nodes, 0.0).ravel()
    weight = (np.ones((len(mean), 1)) / len(mean) * weights / weights.sum()).ravel()
    reading, spacing = reading_grid(CONFIG["max_leverage"] + 2.0)
    noise_law = noise_density(reading)
    informed = sum(
        w @ (noise_law * np.exp(log_likelihood_ratio(reading, d[:, None], CHANNEL)))
        for d, w in zip(np.array_split(support, 50), np.array_split(weight, 50), strict=True)
    )
    p = CHANNEL.prior
    log_odds = special.logit(p) + np.log(informed) - np.log(noise_law)
    gain = p * informed * (special.log_expit(log_odds) - np.log(p))
    gain += (1 - p) * noise_law * (special.log_expit(-log_odds) - np.log1p(-p))
    return float(spacing * np.sum(gain))


def hills(penalty):
    """The leverages to which a deterministic trader climbs from d = 0 and from d_max."""
    grid = np.linspace(0.0, CONFIG["max_leverage"], 4001)
    objective = HASTE.value(grid) - penalty * information(grid, CHANNEL)
    falls = np.flatnonzero(np.diff(objective) < 0)
    rises = np.flatnonzero(np.diff(objective) > 0)
    return float(grid[falls[0]] if len(falls) else grid[-1]), float(grid[rises[-1] + 1] if len(rises) else grid[0])


def theory(penalty):
    """Both exact optima at one penalty."""
    mixed = best_mixture(penalty, HASTE, CHANNEL)
    pure = best_leverage(penalty, HASTE, CHANNEL)
    quiet, loud = hills(penalty)
    leak = float(information(pure, CHANNEL))
    return {
        "penalty": penalty,
        "deterministic": {
            "leverage": pure,
            "quiet_hill": quiet,
            "loud_hill": loud,
            "information": leak,
            "objective": float(HASTE.value(pure)) - penalty * leak,
        },
        "randomising": {
            "loud_probability": mixed.loud_probability(inflection(CHANNEL)),
            "haste": mixed.haste,
            "information": mixed.information,
            "objective": mixed.haste - penalty * mixed.information,
        },
    }


def training_of(arm):
    """The static bundle of one arm."""
    learn = LearnSpec(n_envs=CONFIG["training"]["n_envs"], **CONFIG["learn"])
    return covert.CovertTraining(CovertGame(CONFIG["training"]["horizon"]), learn, trader_slope=arm["slope"])


def lane_arguments(arm, penalty, start, seed):
    """What one lane is trained with, as arrays."""
    rates = {"n_updates": float(CONFIG["training"]["n_updates"]), "gae_decay": arm["gae_decay"]}
    hypers = Hypers(**rates, **CONFIG["hypers"])
    params = CovertParams(
        max_leverage=CONFIG["max_leverage"],
        private_randomiser=arm["private_randomiser"],
        leakage_weight=penalty,
        start=arm["starts"][start],
    )
    return jnp.uint32(seed), jnp.float32(arm["log_std"]), as_arrays(hypers), as_arrays(params)


def train_lanes(arm, lanes):
    """Metrics of every lane, one compiled program called on chunks of lanes."""
    training, size = training_of(arm), CONFIG["lanes_per_chunk"]
    n_updates = CONFIG["training"]["n_updates"]

    @jax.jit
    def run(arguments):
        one = lambda seed, *rest: covert.train(jax.random.key(seed), *rest, training, n_updates)[1]  # noqa: E731
        return jax.vmap(one)(*arguments)

    rows = []
    for first in range(0, len(lanes), size):
        chunk = [lane_arguments(arm, *lane) for lane in lanes[first : first + size]]
        metrics = jax.tree.map(np.asarray, run(jax.tree.map(lambda *x: jnp.stack(x), *chunk)))
        rows += [jax.tree.map(lambda x, i=i: x[i], metrics) for i in range(len(chunk))]
        print(f"{len(rows)} of {len(lanes)} lanes after {time.process_time():.0f} s", flush=True)
    return rows


def summary(metrics, penalty):
    """The mixture of the last policies of one lane."""
    last = slice(-int(len(metrics.leverage) * CONFIG["averaged_share"]), None)
    mean, noise = metrics.leverage[last].astype(np.float64), metrics.noise[last].astype(np.float64)
    thin = slice(None, None, 8)  # policies of neighbouring updates are nearly the same
    leak = mixture_information(mean[thin].ravel(), noise[thin].ravel())
    gain = float(HASTE.value(mean.mean()))
    return {
        "leverage": float(mean.mean()),
        "noise": float(noise.mean()),
        "loud_probability": float((mean > inflection(CHANNEL)).mean()),
        "information": leak,
        "objective": gain - penalty * leak,
        "claimed_information": float(metrics.claimed_information[last].mean()),
    }


def record():
    """Train every lane of both arms and set it beside the theory."""
    origin, started, results = provenance(CONFIG, 0), time.process_time(), {}
    for name, arm in CONFIG["arms"].items():
        lanes = list(itertools.product(CONFIG["penalties"], arm["starts"], range(CONFIG["seeds"])))
        before = time.process_time()
        rows = train_lanes(arm, lanes)
        results[name] = {
            "cpu_seconds": round(time.process_time() - before, 1),
            "lanes": [
                {"penalty": penalty, "start": start, "seed": seed, **summary(row, penalty)}
                for (penalty, start, seed), row in zip(lanes, rows, strict=True)
            ],
        }
    return {
        "provenance": origin,
        "cpu_seconds": round(time.process_time() - started, 1),
        "theory": [theory(penalty) for penalty in np.linspace(0.3, 3.3, 61).tolist()],
        "at_measured_penalties": [theory(penalty) for penalty in CONFIG["penalties"]],
        "jump": jump(HASTE, CHANNEL).penalty,
        "results": results,
    }


def draw_points(axis, lanes, key):
    """One mark per penalty and start: mean over seeds, bar over their whole range."""
    for shift, (start, (mark, colour)) in zip((-0.015, 0.015), START_STYLE.items(), strict=True):
        for k, penalty in enumerate(CONFIG["penalties"]):
            values = [lane[key] for lane in lanes if lane["penalty"] == penalty and lane["start"] == start]
            middle = np.mean(values)
            bar = [[middle - min(values)], [max(values) - middle]]
            label = f"learned from a {start} start, mean and range of {len(values)} seeds" if k == 0 else None
            axis.errorbar(
                penalty + shift, middle, yerr=bar, fmt=mark, color=colour, ms=6, mfc="none", capsize=3, label=label
            )


def draw(document):
    """Loudness of the deterministic trader, P(loud) of the randomising one, and what both leak."""
    grid = [row["penalty"] for row in document["theory"]]
    pure = {k: [row["deterministic"][k] for row in document["theory"]] for k in document["theory"][0]["deterministic"]}
    mixed = {k: [row["randomising"][k] for row in document["theory"]] for k in document["theory"][0]["randomising"]}
    lanes = {name: result["lanes"] for name, result in document["results"].items()}
    figure, axes = plt.subplots(1, 3, figsize=(15.0, 4.6), constrained_layout=True)
    axes[0].plot(grid, pure["leverage"], color=BLACK, lw=2.5, label="exact optimum, jumps")
    axes[0].plot(grid, pure["quiet_hill"], color=BLUE, lw=1.0, ls="--", label="hill climbed from d = 0, exact")
    axes[0].plot(grid, pure["loud_hill"], color=ORANGE, lw=1.0, ls="--", label=r"hill climbed from $d_{\max}$, exact")
    draw_points(axes[0], lanes["deterministic"], "leverage")
    axes[0].set(ylabel="leverage d", title="without a private number: two branches")
    axes[1].plot(grid, mixed["loud_probability"], color=GREEN, lw=2.5, label="exact optimum, continuous")
    draw_points(axes[1], lanes["randomising"], "loud_probability")
    axes[1].set(ylabel="P(loud), share of episodes", title="with a private number: one curve")
    axes[2].plot(grid, pure["information"], color=BLACK, lw=2.0, label="exact, deterministic")
    axes[2].plot(grid, mixed["information"], color=GREEN, lw=2.0, ls="--", label="exact, randomising")
    for name, mark, colour in (("deterministic", "s", BLACK), ("randomising", "o", GREEN)):
        best = [best_start(lanes[name], penalty) for penalty in CONFIG["penalties"]]
        label = f"learned, {name}, the better start"
        axes[2].plot(CONFIG["penalties"], best, mark, color=colour, mfc="none", ms=7, label=label)
    axes[2].set(ylabel="I(z; F), nats", title="what is leaked")
    for axis, top in zip(axes, (6.0, 1.25, 0.8), strict=True):  # room for the legends
        axis.axvline(document["jump"], color="0.6", lw=0.8, ls=":")
        axis.set(xlabel=r"leakage penalty $\lambda$", ylim=(0.0, top))
        axis.legend(fontsize=7.5, loc="upper right")
    figure.savefig(HERE / "covert_game.png", dpi=150)
    plt.close(figure)


def best_start(lanes, penalty):
    """Information of the start whose seeds have the higher mean objective: never chosen by the return."""
    rows = [[lane for lane in lanes if lane["penalty"] == penalty and lane["start"] == s] for s in START_STYLE]
    best = max(rows, key=lambda group: np.mean([lane["objective"] for lane in group]))
    return float(np.mean([lane["information"] for lane in best]))


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--redraw", action="store_true", help="draw from the JSON that is there")
    path = HERE / "covert_game.json"
    if parser.parse_args(arguments).redraw:
        document = json.loads(path.read_text())
    else:
        document = record()
        path.write_text(json.dumps(document, indent=1) + "\n")
    draw(document)


if __name__ == "__main__":
    main(sys.argv[1:])
