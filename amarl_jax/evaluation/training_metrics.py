"""Unit and meaning of every number in ``metrics.jsonl``, for the page of them."""

UPDATE = {  # of a whole update: name to unit, meaning
    "update": ("", "updates done"),
    "lane": ("", "of a sweep, from 0; a single run has none"),
    "env_steps": ("steps", "environment steps so far, summed over environments"),
    "wall_seconds": ("seconds", "that the update took, by the clock"),
    "wall_steps_per_second": ("steps per second", "environment steps of the update over its seconds"),
    "objective": ("reward units", "minus shortfall minus lambda times the information claimed: the best run has most"),
}
FINITE = ("1 or 0", "whether every parameter and moment of this network is finite")
ROLLOUT = {  # of the episodes that a phase played, before anything learned from them
    "execution/reward": ("reward units per informed episode", "all that the execution agent was paid"),
    "execution/shortfall": ("reward units per informed episode", "implementation shortfall over is_unit_ticks"),
    "execution/completion": ("share of the parent order", "done at the horizon, informed episodes"),
    "execution/leakage": ("nats per informed episode", "that it is charged for, by the leakage source"),
    "execution/predictability": (
        "nats per informed episode",
        "by which the flow so far predicts the next step, over no memory at all",
    ),
    "information/source_nats": ("nats", "what the leakage source claims at the horizon, before it is fitted to these"),
    "information/belief_nats": ("nats", "what the maker's belief claims at the horizon, likewise"),
    "belief/final_accuracy": ("share of episodes", "whose class the belief names right at the horizon"),
    "belief/mean": ("probability", "P(z = 1 | F), mean over steps and episodes"),
    "maker/reward": ("reward units per episode", "all that the maker was paid"),
    "maker/pnl": ("reward units per episode", "spread captured against mid plus revaluation"),
    "maker/adverse_selection": ("reward units per episode", "lost to those who knew better"),
    "maker/quoted_spread_ticks": ("ticks", "ask - bid that it quotes, mean over steps"),
    "arbitrageur/reward": ("reward units per episode", "all that the arbitrageur was paid"),
    "arbitrageur/pnl": ("reward units per episode", "marked to V"),
    "arbitrageur/snipe_lots": ("lots per episode", "filled against quotes of an earlier step"),
    "market/spread_ticks": ("ticks", "best ask - best bid, mean over steps"),
    "market/traded_lots": ("lots per episode", "traded by anybody"),
    "market/noise_cut": ("orders per episode", "of noise, lost to environment.max_noise_orders; should be near 0"),
    "market/refused": ("orders per episode", "that found their side of the book full; should be near 0"),
    "market/evicted": ("orders per episode", "pushed out of a full side by better ones; should be near 0"),
}
LEARNING = {  # of the learning that followed, for the networks that the phase trains
    "critic/loss": ("reward units squared", "squared error of the value heads, times its weight"),
    "belief/loss": ("nats", "cross-entropy of z, mean over prefixes, less the entropy bonus"),
    "mine/loss": ("nats", "that the MI critic descends: minus its estimate, by the estimator's own formula"),
    "predictor/loss": ("nats per step", "minus what the flow so far gains in predicting the next step"),
}
OF_ACTORS = {  # the same for each of the three agents, where the phase trains it
    "surrogate": ("advantage units", "PPO's clipped objective"),
    "entropy": ("nats per decision", "of the policy"),
    "approx_kl": ("nats per decision", "from the policy that played to the one that learned"),
    "clip_fraction": ("share of decisions", "whose probability ratio was clipped"),
}
