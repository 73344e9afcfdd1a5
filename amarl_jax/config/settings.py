"""Every setting of a configuration: its type, its range, and the typed field it feeds, or the conversion that reads it.

``SETTINGS`` is the schema that :mod:`amarl_jax.config.loading` checks and resolves by. Meaning and unit of a setting
stand beside its value in ``configs/default.py``. ``FOREIGN`` lists names of the reference system's configuration that
mean nothing here, with the reason.
"""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from amarl_jax.information import estimators
from amarl_jax.learn.hypers import NOBODY
from amarl_jax.market.env import MAX_LOTS
from amarl_jax.market.params import STEP_MS
from amarl_jax.nets.precision import MIXED
from amarl_jax.types import AGENT_NAMES

BOOK, NET, LEARN, RUN, SWEEP = "market_spec", "network_spec", "learn_spec", "run", "sweep"
HYPER, WEIGHT, ENV = BAGS = ("hypers", "weights", "env_params")  # of traced leaves, in which lanes may differ
ESTIMATOR = "networks.mine.estimator"  # the one setting that may name code: it is imported where a user gives it


FLOAT32_MAX = float(np.finfo(np.float32).max)  # what the compiled programs compute in
FLOAT32_MIN = float(np.finfo(np.float32).smallest_normal)  # smaller numbers may count as 0


@dataclass(frozen=True)
class Setting:
    """One leaf of the configuration."""

    kind: str  # "bool", "int", "float", "str", "ints" or "floats" (tuples)
    target: str  # "bag.field" of the typed experiment that holds the value itself; "" if a conversion reads it
    low: float = -math.inf  # smallest number allowed
    high: float = math.inf  # largest number allowed
    above: float = -math.inf  # numbers must exceed this
    below: float = math.inf  # numbers must stay under this
    choices: tuple[str, ...] = ()  # strings allowed; empty: any that is not blank
    estimator: bool = False  # a string that names a registered estimator of mutual information
    length: int = 0  # exact length of a tuple; 0: any but empty
    most: int = 0  # longest tuple allowed; 0: any
    converted: tuple[str, ...] = ()  # "bag.field" of what config.resolve makes of it; empty where there is a target

    @property
    def feeds(self) -> tuple[str, ...]:
        """Fields of the typed experiment that depend on it."""
        return (self.target,) if self.target else self.converted

    def admits(self, value: object) -> bool:
        """True if ``value`` has the type and lies in the range."""
        if self.kind in ("ints", "floats"):
            if not isinstance(value, tuple) or not value or len(value) > (self.most or len(value)):
                return False
            if self.length and len(value) != self.length:
                return False
            return all(self._admits_scalar(item, self.kind[:-1]) for item in value)
        return self._admits_scalar(value, self.kind)

    def _admits_scalar(self, value: object, kind: str) -> bool:
        if kind == "bool":
            return isinstance(value, bool)
        if kind == "str":
            choices = self._strings()
            return isinstance(value, str) and (value in choices if choices else bool(value.strip()))
        if isinstance(value, bool) or not isinstance(value, int if kind == "int" else (int, float)):
            return False
        if not abs(value) <= FLOAT32_MAX:
            return False  # infinite, NaN, or more than a float can hold
        return self._in_range(float(value)) and (kind == "int" or self._seen_in_range(float(value)))

    def _strings(self) -> Iterable[str]:
        """Strings allowed, those registered by now included; empty: any that is not blank."""
        return estimators.REGISTRY if self.estimator else self.choices

    def _in_range(self, number: float) -> bool:
        return self.low <= number <= self.high and self.above < number < self.below

    def _seen_in_range(self, number: float) -> bool:
        """True if a number rounded to float32 stays within strict bounds, and is 0 only if it was 0."""
        seen = float32(number)
        return self.above < seen < self.below and (seen == 0.0) == (number == 0.0)

    @property
    def allowed(self) -> str:
        """Description of the accepted values."""
        if self.kind == "bool":
            return "True or False"
        if self.estimator:
            return "one of " + ", ".join(sorted(self._strings())) + ", or module:name of one of yours"
        if self.kind == "str":
            return "one of " + ", ".join(self.choices) if self.choices else "a non-empty string"
        bounds = ((">=", self.low), (">", self.above), ("<=", self.high), ("<", self.below))
        limits = " and ".join(f"{sign} {bound:.10g}" for sign, bound in bounds if math.isfinite(bound))
        noun = {"int": "an integer", "float": "a finite number"}.get(self.kind)
        if noun is None:
            count = str(self.length) if self.length else f"1 to {self.most}" if self.most else "one or more"
            noun = f"a tuple of {count} " + ("integers" if self.kind == "ints" else "finite numbers")
        return f"{noun} {limits}".rstrip()

    def refusal(self, value: object) -> str:
        """Description of the values accepted instead of ``value``; with its float32 value where that is the reason."""
        if isinstance(value, float) and self.kind == "float" and self._in_range(value):
            return f"{self.allowed}; to the programs, which compute in float32, it is {float32(value):g}"
        return self.allowed


def float32(number: float) -> float:
    """A number as the compiled programs see it: numbers smaller than the normal ones of float32 become 0."""
    seen = float(np.float32(number))
    return seen if abs(seen) >= FLOAT32_MIN else 0.0


def whole(value: object, kind: str) -> object:
    """``value`` with integers for whole floats (1e6) where ``kind`` is of integers; anything else as it is."""
    if kind == "ints" and isinstance(value, tuple):
        return tuple(whole(item, "int") for item in value)
    return int(value) if kind == "int" and isinstance(value, float) and value.is_integer() else value


def _int(target: str, low: int = 1, *, high: int) -> Setting:
    return Setting("int", target, low=low, high=high)


def _weight(target: str, high: float = 1e6) -> Setting:
    return Setting("float", target, low=0.0, high=high)


def _positive(target: str, high: float, low: float = 0.0) -> Setting:
    """A setting above 0; ``low`` is the smallest value that makes sense."""
    return Setting("float", target, low=low, high=high) if low else Setting("float", target, above=0.0, high=high)


def _fraction(target: str) -> Setting:
    return Setting("float", target, low=0.0, high=1.0)


def _latency(agent: str) -> Setting:
    return Setting("float", f"{ENV}.latency_{agent}_ms", low=0.0, below=STEP_MS)


def _choice(target: str, *choices: str) -> Setting:
    return Setting("str", target, choices=choices)


def _converted(kind: str, *fields: str, **limits: Any) -> Setting:
    """A setting without a field of its own: ``fields`` are computed from it, and maybe from others."""
    return Setting(kind, "", converted=fields, **limits)


def _widths(target: str) -> Setting:
    return Setting("ints", f"{NET}.{target}", low=1, high=_MAX_WIDTH, most=32)


FREEZABLE = tuple(  # any proper subset
    "+".join(names) for n in range(1, len(AGENT_NAMES)) for names in itertools.combinations(AGENT_NAMES, n)
)
_INT8_MAX = 127  # sizes and prices on the tape are 8-bit
_MAX_WIDTH = 16_384  # units of a layer
_MAX_UPDATES = 1_000_000  # between two log lines or checkpoints
_MAX_EPISODES = 1 << 20  # side by side, or kept
_MAX_STEPS = 10_000  # of an optimiser, per rollout
_MAX_TICKS = 1e6  # charged or paid per lot
_SIZE_LAW = (f"{ENV}.size_beta_a", f"{ENV}.size_beta_b", f"{HYPER}.start_size")

SETTINGS: dict[str, Setting] = {
    "exp_name": Setting("str", f"{RUN}.exp_name"),
    "seed": _int(f"{RUN}.seed", low=0, high=2**31 - 1),
    "device": _choice(f"{RUN}.device", "auto", "cpu", "gpu", "tpu"),
    "precision": _converted(
        "str", f"{RUN}.precision", f"{NET}.products", choices=("default", "bfloat16", "tensorfloat32", "float32", MIXED)
    ),
    "prng_impl": _choice(f"{RUN}.prng_impl", "auto", "threefry2x32", "rbg", "unsafe_rbg"),
    "compilation_cache_dir": Setting("str", f"{RUN}.compilation_cache_dir"),
    "checkpoint_interval": _int(f"{RUN}.checkpoint_interval", high=_MAX_UPDATES),
    "eval_episodes": _int(f"{RUN}.eval_episodes", low=20, high=_MAX_EPISODES),
    "exact.n_episodes": _int(f"{RUN}.exact_episodes", low=20, high=_MAX_EPISODES),
    "exact.n_particles": _int(f"{RUN}.exact_particles", low=2, high=4096),
    "exact.n_private": _int(f"{RUN}.exact_private", high=4096),
    "environment.tick_size": _positive(f"{BOOK}.tick_size", low=1e-9, high=1e9),
    "environment.n_price_levels": _int(f"{BOOK}.n_levels", high=1024),
    "environment.max_steps_per_episode": _int(f"{BOOK}.horizon", low=2, high=32767),
    "environment.initial_mid_price": _positive(f"{BOOK}.initial_mid_price", low=1e-9, high=1e9),
    "environment.book_capacity": _int(f"{BOOK}.book_capacity", low=2, high=4096),
    "environment.initial_levels": _int(f"{BOOK}.initial_levels", high=100),
    "environment.initial_sizes": Setting("ints", f"{BOOK}.initial_sizes", low=1, high=_INT8_MAX, most=64),
    "environment.informed_probability": Setting("float", f"{ENV}.informed_probability", above=0.0, below=1.0),
    "environment.value_target_ticks": _weight(f"{ENV}.value_target_ticks", high=4096),
    "environment.value_reversion": _fraction(f"{ENV}.value_reversion"),
    "environment.value_volatility_ticks": _weight(f"{ENV}.value_volatility_ticks", high=1024),
    "environment.news_speed": _fraction(f"{ENV}.news_speed"),
    "environment.noise_trader_arrival_rate": _weight(f"{ENV}.noise_rate", high=1024),
    "environment.max_noise_orders": _int(f"{BOOK}.max_noise_orders", high=1024),
    "environment.noise_order_size_mean": _converted("float", *_SIZE_LAW, low=1e-3, high=_INT8_MAX),
    "environment.noise_order_size_std": _converted("float", *_SIZE_LAW, above=0.0, high=_INT8_MAX),
    "environment.noise_law": _converted("str", f"{ENV}.flow", choices=("beta", "table", "recorded")),
    "environment.flow": _converted("str", f"{ENV}.flow"),
    "environment.held_out_share": _converted("float", f"{ENV}.windows", low=0.0, high=0.9),
    "environment.market_order_probability": _fraction(f"{ENV}.market_order_probability"),
    "environment.order_lifetime_steps": Setting("float", f"{ENV}.lifetime_steps", low=1.0, high=1e6),
    "environment.offset_min_ticks": _int(f"{BOOK}.offset_min_ticks", low=-50, high=50),
    "environment.offset_max_ticks": _int(f"{BOOK}.offset_max_ticks", low=-50, high=50),
    "environment.tilt_per_tick": _weight(f"{ENV}.tilt_per_tick", high=100),
    "environment.tilt_max": Setting("float", f"{ENV}.tilt_max", low=0.0, high=0.5),
    "environment.slot_rate": _fraction(f"{ENV}.slot_rate"),
    "environment.latency_ms.execution_agent": _latency("execution"),
    "environment.latency_ms.market_maker": _latency("maker"),
    "environment.latency_ms.arbitrageur": _latency("arbitrageur"),
    "environment.latency_ms.jitter": Setting("float", f"{ENV}.jitter_ms", low=0.0, below=STEP_MS),
    "agents.execution.inventory_lots": _int(f"{ENV}.parent_lots", high=10_000),
    "agents.execution.horizon": _int(f"{BOOK}.horizon", low=2, high=32767),
    "agents.execution.max_order_size": _int(f"{BOOK}.max_order_size", high=_INT8_MAX),
    "agents.execution.private_randomiser": Setting("bool", f"{BOOK}.private_randomiser"),
    "agents.execution.lambda_leakage": _weight(f"{WEIGHT}.leakage_weight"),
    "agents.execution.lambda_start": _weight(f"{HYPER}.leakage_weight_start"),
    "agents.execution.lambda_ramp_updates": _int(f"{HYPER}.leakage_ramp_updates", low=0, high=_MAX_UPDATES),
    "agents.execution.start_gate": Setting("float", f"{HYPER}.start_gate", above=0.0, below=1.0),
    "agents.execution.start_along": Setting("float", f"{HYPER}.start_along", above=0.0, below=1.0),
    "agents.execution.leakage_source": _choice(f"{LEARN}.leakage_source", "mine", "belief", "exact"),
    "agents.execution.exact_particles": _int(f"{LEARN}.exact_particles", low=2, high=4096),
    "agents.execution.exact_private": _int(f"{LEARN}.exact_private", high=4096),
    "agents.execution.leakage_credit": _choice(f"{LEARN}.leakage_credit", "increment", "level"),
    "agents.execution.shortfall_credit": _choice(f"{LEARN}.shortfall_credit", "marked", "horizon"),
    "agents.execution.mu_predictability": _weight(f"{WEIGHT}.predictability_weight"),
    "agents.execution.terminal_inventory_penalty": _weight(f"{ENV}.terminal_penalty_ticks", high=_MAX_TICKS),
    "agents.execution.is_unit_ticks": _positive(f"{ENV}.is_unit_ticks", low=1e-3, high=_MAX_TICKS),
    "agents.market_maker.max_spread_ticks": _int(f"{ENV}.max_spread_ticks", high=_INT8_MAX),
    "agents.market_maker.max_inventory_lots": _int(f"{ENV}.maker_inventory_limit", high=10_000),
    "agents.market_maker.max_quote_size_lots": _int(f"{ENV}.max_quote_lots", high=MAX_LOTS),
    "agents.market_maker.n_tape_events": _int(f"{BOOK}.n_tape_events", high=4096),
    "agents.market_maker.alpha_adverse_selection": _weight(f"{WEIGHT}.adverse_selection_weight"),
    "agents.market_maker.beta_entropy_reg": _weight(f"{WEIGHT}.belief_entropy_weight"),
    "agents.market_maker.gamma_belief_accuracy": _weight(f"{WEIGHT}.belief_accuracy_weight"),
    "agents.market_maker.belief_frozen": Setting("bool", f"{HYPER}.belief_frozen"),
    "agents.arbitrageur.max_position_lots": _int(f"{ENV}.arbitrageur_position_limit", high=10_000),
    "agents.arbitrageur.order_size_lots": _int(f"{ENV}.arbitrageur_order_lots", low=0, high=_INT8_MAX),
    "agents.arbitrageur.delta_belief_lag": _weight(f"{WEIGHT}.belief_lag_weight"),
    "networks.execution_actor.hidden_dims": _widths("execution_hidden"),
    "networks.execution_actor.head": _choice(f"{NET}.execution_head", "beta", "tilt"),
    "networks.mm_actor.hidden_dims": _widths("maker_hidden"),
    "networks.arb_actor.hidden_dims": _widths("arbitrageur_hidden"),
    "networks.belief_transformer.d_model": _int(f"{NET}.belief.d_model", low=2, high=_MAX_WIDTH),
    "networks.belief_transformer.n_heads": _int(f"{NET}.belief.n_heads", high=1024),
    "networks.belief_transformer.n_layers": _int(f"{NET}.belief.n_layers", high=128),
    "networks.belief_transformer.d_ff": _int(f"{NET}.belief.d_ff", high=4 * _MAX_WIDTH),
    "networks.belief_transformer.max_seq_len": _int(f"{NET}.belief.max_seq_len", high=32767),
    "networks.belief_transformer.cache": _choice(f"{NET}.belief.cache", "float32", "bfloat16"),
    "networks.belief_transformer.beta_entropy": Setting("float", f"{HYPER}.belief_loss_entropy", low=0.0, below=1.0),
    "networks.belief_transformer.target": _choice(f"{LEARN}.belief_target", "label", "exact"),
    "networks.shared_critic.hidden_dims": _widths("critic_hidden"),
    "networks.shared_critic.head_hidden_dim": _int(f"{NET}.critic_head_hidden", high=_MAX_WIDTH),
    "networks.mine.hidden_dims": _widths("statistics_hidden"),
    "networks.mine.ema_decay": Setting("float", f"{HYPER}.mine_ema", low=0.0, below=1.0),
    ESTIMATOR: Setting("str", f"{LEARN}.mi_estimator", estimator=True),
    "networks.predictor.hidden_dim": _int(f"{NET}.predictor_hidden", high=_MAX_WIDTH),
    "training.total_timesteps": _converted("int", "total_timesteps", f"{HYPER}.n_updates", low=1, high=10**15),
    "training.n_envs": _int(f"{LEARN}.n_envs", low=2, high=_MAX_EPISODES),
    "training.n_epochs": _int(f"{LEARN}.n_epochs", high=_MAX_STEPS),
    "training.n_minibatches": _int(f"{LEARN}.n_minibatches", high=_MAX_EPISODES),
    "training.gamma": Setting("floats", f"{HYPER}.discount", low=0.0, high=1.0, length=3),
    "training.gae_lambda": _fraction(f"{HYPER}.gae_decay"),
    "training.clip_range": Setting("float", f"{HYPER}.clip_ratio", above=0.0, below=1.0),
    "training.entropy_coef": _weight(f"{HYPER}.entropy_weight"),
    "training.entropy_coef_end": _weight(f"{HYPER}.entropy_weight_end"),
    "training.entropy_share": _fraction(f"{HYPER}.entropy_share"),
    "training.value_coef": _weight(f"{HYPER}.value_weight"),
    "training.max_grad_norm": _positive(f"{HYPER}.max_grad_norm", high=1e9),
    "training.lr_actor": _positive(f"{HYPER}.lr_actor", high=10),
    "training.lr_critic": _positive(f"{HYPER}.lr_critic", high=10),
    "training.lr_mine": _positive(f"{HYPER}.lr_mine", high=10),
    "training.lr_belief": _positive(f"{HYPER}.lr_belief", high=10),
    "training.lr_schedule": _converted("str", f"{HYPER}.lr_final_fraction", choices=("linear", "constant")),
    "training.weight_decay": _weight(f"{HYPER}.weight_decay", high=1e3),
    "training.n_mine_steps": _int(f"{LEARN}.n_mine_steps", high=_MAX_STEPS),
    "training.n_belief_steps": _int(f"{LEARN}.n_belief_steps", high=_MAX_STEPS),
    "training.belief_microbatch": _int(f"{LEARN}.belief_microbatch", high=_MAX_EPISODES),
    "training.replay_capacity": _int(f"{LEARN}.replay_capacity", high=_MAX_EPISODES),
    "training.replay_batch": _int(f"{LEARN}.replay_batch", high=_MAX_EPISODES),
    "training.replay_alpha": _fraction(f"{HYPER}.replay_alpha"),
    "training.replay_beta": _fraction(f"{HYPER}.replay_beta"),
    "training.frozen": _choice(f"{LEARN}.frozen", NOBODY, *FREEZABLE),
    "training.alternating.enabled": Setting("bool", f"{LEARN}.alternating"),
    "training.alternating.exec_phase_steps": _int(f"{LEARN}.execution_phase_steps", high=10_000_000),
    "training.alternating.mm_arb_phase_steps": _int(f"{LEARN}.maker_arbitrageur_phase_steps", high=10_000_000),
    "sweep.lambda_min": _weight(f"{SWEEP}.lambda_min"),
    "sweep.lambda_max": _positive(f"{SWEEP}.lambda_max", high=1e6),
    "sweep.n_lambdas": _int(f"{SWEEP}.n_lambdas", high=1000),
    "sweep.points_per_octave": Setting("float", f"{SWEEP}.points_per_octave", low=0.0, high=64.0),
    "sweep.n_seeds": _int(f"{SWEEP}.n_seeds", high=1000),
    "sweep.axis": Setting("str", f"{SWEEP}.axis"),
    "sweep.axis_values": Setting("floats", f"{SWEEP}.axis_values", most=1000),
    "sweep.lanes_at_once": _int(f"{SWEEP}.lanes_at_once", low=0, high=_MAX_EPISODES),
    "logging.log_interval": _int(f"{RUN}.log_interval", high=_MAX_UPDATES),
    "logging.use_tensorboard": Setting("bool", f"{RUN}.use_tensorboard"),
    "logging.use_wandb": Setting("bool", f"{RUN}.use_wandb"),
    "logging.wandb_project": Setting("str", f"{RUN}.wandb_project"),
    "logging.verbose": Setting("bool", f"{RUN}.verbose"),
}

_ACTIVATION = "each network has the one activation its module states"
_HORIZON = "a snapshot and running features replace stacked history; the maker's events are n_tape_events"

FOREIGN: dict[str, str] = {
    "log_dir": "everything of a run goes to --workdir",
    "checkpoint_dir": "checkpoints go to <workdir>/checkpoints",
    "eval_interval": "held-out evaluation is made once, at the end, against frozen policies; see eval_episodes",
    "environment.lot_size": "sizes are integer lots everywhere; no quantity is in shares",
    "environment.fundamental_value": "value starts at the opening mid, 0 ticks; see value_target_ticks",
    "environment.fundamental_vol": "volatility is in ticks per step, value_volatility_ticks, not annualised",
    "agents.execution.order_types": "the policy chooses limit or market by its order-type output",
    "agents.execution.observation_history": _HORIZON,
    "agents.market_maker.observation_history": _HORIZON,
    "agents.market_maker.min_quote_size_lots": "a quote has at least one lot by construction",
    "agents.market_maker.belief_update_freq": "the belief is updated at every step",
    "agents.arbitrageur.latency_advantage_ms": "latencies are environment.latency_ms.*",
    "agents.arbitrageur.hold_period_steps": "positions are held until the policy trades out of them",
    "networks.execution_actor.activation": _ACTIVATION,
    "networks.execution_actor.log_std_init": "the execution head is Bernoulli and Beta: it has no standard deviation",
    "networks.belief_transformer.dropout": "dropout would make the acting and the training belief two functions",
    "networks.belief_transformer.output_dim": "the belief is one number",
    "networks.mm_actor.activation": _ACTIVATION,
    "networks.arb_actor.activation": _ACTIVATION,
    "networks.shared_critic.activation": _ACTIVATION,
    "networks.shared_critic.use_layer_norm": "the critic's trunk always has LayerNorm",
    "networks.mine.activation": _ACTIVATION,
    "training.rollout_length": "rollouts are whole episodes, counted by training.alternating.*_phase_steps",
    "training.minibatch_size": "minibatches hold whole environments: n_minibatches",
    "training.clip_range_vf": "the value loss is not clipped",
    "training.optimizer": "Adam with decoupled weight decay, always",
}
