"""The whole loop, small: 50-step episodes and tiny networks, about two minutes on two cores.

``configs/fast_debug.py:tiny`` is as small as it goes: it shows that everything runs, and learns nothing.
"""

from pathlib import Path

from ml_collections import ConfigDict

from amarl_jax import config as amarl_config


def get_config(variant: str = "") -> ConfigDict:
    """The debug experiment, in what differs from ``default.py``; variant ``tiny`` is smaller still."""
    if variant not in ("", "tiny"):
        raise ValueError(f"unknown variant {variant!r}; there is tiny")
    config = amarl_config.load(Path(__file__).with_name("default.py"))
    config.exp_name = "fast_debug"
    config.seed = 0
    shrink_market(config)
    shrink_networks(config.networks)
    shrink_training(config)
    if variant == "tiny":
        config.exp_name = "tiny"
        shrink_to_nothing(config)
    return config


def shrink_market(config: ConfigDict) -> None:
    """A 20-lot order over 50 steps: value moves faster, flow is leaner."""
    environment, agents = config.environment, config.agents
    environment.max_steps_per_episode = 50  # T, steps
    environment.book_capacity = 64  # N, orders per side
    environment.noise_trader_arrival_rate = 5.0  # orders per step
    environment.max_noise_orders = 12  # M_max, orders per step
    environment.slot_rate = 0.2  # orders per step: a patient completer of 20 lots needs about ten in 50 steps
    environment.value_reversion = 0.2  # theta, per step: value must arrive within the shorter day
    environment.value_volatility_ticks = 1.5  # sigma_V, ticks per square root of a step
    environment.news_speed = 0.3  # phi, per step
    agents.execution.inventory_lots = 20  # Q, lots
    agents.execution.is_unit_ticks = 16.0  # ticks per parent lot
    agents.market_maker.max_spread_ticks = 5  # ticks


def shrink_networks(networks: ConfigDict) -> None:
    """Widths that compile and run in seconds."""
    for name in ("execution_actor", "mm_actor", "arb_actor", "shared_critic", "mine"):
        networks[name].hidden_dims = (64, 64)  # units per layer
    networks.shared_critic.head_hidden_dim = 32  # units
    networks.predictor.hidden_dim = 16  # units
    networks.belief_transformer.update({"d_model": 32, "n_heads": 2, "n_layers": 2, "d_ff": 64})
    networks.belief_transformer.max_seq_len = 64  # attention window, steps: the whole day


def shrink_training(config: ConfigDict) -> None:
    """64 environments, phases of two episodes."""
    training = config.training
    training.total_timesteps = 384_000  # environment steps: 30 updates
    training.n_envs = 64  # E
    training.n_minibatches = 2  # of 32 environments
    training.n_epochs = 4  # PPO passes
    training.lr_actor = 1e-3  # small networks and few updates bear, and need, larger steps
    training.lr_belief = 3e-3  # of the belief
    training.lr_mine = 3e-3  # of MINE and the predictor
    training.n_belief_steps = 8  # per rollout
    training.n_mine_steps = 4  # per rollout, of 16 episodes
    training.replay_batch = 16  # episodes per belief step: twice the fresh ones
    config.eval_episodes = 2048  # held-out episodes of the closing table
    config.exact.n_particles = 64  # half of the default: a bracket far narrower than the standard error of 512 episodes
    training.alternating.exec_phase_steps = 100  # steps per environment: two episodes
    training.alternating.mm_arb_phase_steps = 100  # steps per environment
    config.checkpoint_interval = 10  # updates


def shrink_to_nothing(config: ConfigDict) -> None:
    """Twelve steps, eight environments, eight units a layer, three updates."""
    environment, agents, networks, training = config.environment, config.agents, config.networks, config.training
    environment.max_steps_per_episode = 12  # T, steps
    environment.book_capacity = 32  # N, orders per side
    environment.n_price_levels = 3  # L, per side in the snapshot
    environment.noise_trader_arrival_rate = 2.0  # orders per step
    environment.max_noise_orders = 6  # M_max, orders per step
    environment.initial_levels = 3  # of the opening book, per side
    agents.market_maker.n_tape_events = 4  # tape events the maker sees
    agents.execution.inventory_lots = 8  # Q, lots
    for name in ("execution_actor", "mm_actor", "arb_actor", "shared_critic", "mine"):
        networks[name].hidden_dims = (8,)  # units per layer
    networks.shared_critic.head_hidden_dim = 8  # units
    networks.predictor.hidden_dim = 4  # units
    networks.belief_transformer.update({"d_model": 8, "d_ff": 8, "n_layers": 1, "max_seq_len": 8})
    training.n_envs = 8  # E
    training.n_epochs = 1  # PPO passes
    training.n_mine_steps = 2  # per rollout
    training.n_belief_steps = 1  # per rollout
    training.replay_capacity = 16  # episodes
    training.replay_batch = 8  # episodes
    training.alternating.exec_phase_steps = 12  # steps per environment: one episode
    training.alternating.mm_arb_phase_steps = 12  # steps per environment
    training.total_timesteps = 3 * 2 * 12 * 8  # environment steps: three updates of two phases
    config.eval_episodes = 64  # held-out episodes of the closing table
    config.exact.update({"n_episodes": 64, "n_particles": 16, "n_private": 4})  # all of them, coarsely
    config.checkpoint_interval = 2  # updates
