"""The reference's sizes: a 390-step day, a 100-lot parent order, and the networks and rates its documents give.

Units: prices in ticks from the opening mid, sizes in lots, one step is one minute, money in units of
``is_unit_ticks`` per parent lot, information in nats. Numbers marked [reference: x] deviate from the reference
system's documented value x, for the reason given.
"""

from ml_collections import ConfigDict, FieldReference


def get_config(variant: str = "") -> ConfigDict:
    """The default experiment; it has no variants."""
    if variant:
        raise ValueError(f"unknown variant {variant!r}; this configuration has none")
    horizon = FieldReference(390)  # steps of an episode: one value under its two reference names
    config = ConfigDict()
    config.exp_name = "default"  # names the default workdir, runs/<exp_name>
    config.seed = 42  # root random key of the run
    config.device = "auto"  # auto (the best one present), cpu, gpu or tpu
    config.precision = "float32"  # of matrix products on accelerators: default, bfloat16, tensorfloat32, float32, or
    #                               mixed: tensorfloat32 in policies, critic and MINE, float32 elsewhere
    config.prng_impl = "auto"  # how random keys are made: auto is JAX_DEFAULT_PRNG_IMPL, and saved as what that is
    config.compilation_cache_dir = "auto"  # auto (the user's cache folder), off, or a folder
    config.checkpoint_interval = 5  # updates between checkpoints; a multiple of logging.log_interval
    config.eval_episodes = 512  # held-out episodes behind the closing table, both classes together
    config.environment = environment(horizon)
    config.agents = ConfigDict(
        {"execution": execution(horizon), "market_maker": market_maker(), "arbitrageur": arbitrageur()}
    )
    config.exact = exact()
    config.networks = networks()
    config.training = training()
    config.sweep = sweep()
    config.logging = logging()
    return config


def environment(horizon: FieldReference) -> ConfigDict:
    """The market: book, value, flow, latency."""
    section = ConfigDict()
    section.tick_size = 0.01  # currency per tick; reports only
    section.initial_mid_price = 100.0  # currency, the price of tick 0; reports only
    section.max_steps_per_episode = horizon  # T, steps of one minute: a trading day
    section.n_price_levels = 20  # L, price levels per side in the depth snapshot
    section.book_capacity = 96  # N, orders at rest per side; in 99.9% of episodes of experiments/foundation at most 74
    section.initial_levels = 5  # price levels per side of the opening book
    section.initial_sizes = (5, 3)  # lots of the orders that open each level
    section.informed_probability = 0.5  # p_z = P(z = 1), share of episodes with an informed parent order
    section.value_target_ticks = 20.0  # Delta, ticks between the opening value and the level it reverts to
    section.value_reversion = 0.05  # theta, share of the gap to that level closed per step
    section.value_volatility_ticks = 1.0  # sigma_V, ticks per square root of a step
    section.news_speed = 0.1  # phi, share of the gap V - W that public value W closes per step
    section.noise_trader_arrival_rate = 10.0  # noise orders per step, Poisson mean
    section.max_noise_orders = 20  # M_max, most noise orders of one step; what it cuts off is counted, and a step of
    #                                recorded orders that has more is played as several
    section.noise_order_size_mean = 5.0  # lots, mean of the Beta law of sizes before rounding
    section.noise_order_size_std = 2.0  # lots, its standard deviation
    section.noise_law = "beta"  # beta (sizes of a Beta law, offsets uniform), table (that of flow), or recorded, the
    #                             orders of stream.npz beside flow as they came
    section.flow = "none"  # a fitted day, DIR/flow.json of fit_flow, which sets the settings that it speaks of; none
    section.held_out_share = 0.2  # of a recorded day, its end: evaluation plays windows of it, training none
    section.market_order_probability = 0.2  # p_market, share of noise orders that are market orders
    section.order_lifetime_steps = 10.0  # geometric mean lifetime of noise and slot orders, steps
    section.offset_min_ticks = -2  # most aggressive limit offset of noise and child orders, ticks behind mid
    section.offset_max_ticks = 5  # most passive one [reference: -5 to 5; more aggressive noise only feeds the maker]
    section.tilt_per_tick = 0.05  # psi, change of P(noise buys) per tick of W - mid: trading discovers the price
    section.tilt_max = 0.3  # psi_max, largest such change
    section.slot_rate = 0.1  # P(order in a step) of the slot, the account that may be informed, where it is not (z = 0)
    section.latency_ms = ConfigDict()
    section.latency_ms.execution_agent = 100.0  # milliseconds from decision to book
    section.latency_ms.market_maker = 10.0  # milliseconds
    section.latency_ms.arbitrageur = 1.0  # milliseconds
    section.latency_ms.jitter = 2.0  # milliseconds, mean of the exponential delay added to each message
    return section


def execution(horizon: FieldReference) -> ConfigDict:
    """The informed trader with a parent order to work."""
    section = ConfigDict()
    section.inventory_lots = 100  # Q, lots of the parent order
    section.horizon = horizon  # T, steps to complete it in: the episode's, an earlier end would reveal z
    section.max_order_size = 20  # lots, largest child order, and largest noise order
    section.private_randomiser = True  # one N(0, 1) number per episode in the observation, to mix loud and quiet ones
    section.lambda_leakage = 0.5  # lambda, reward per nat of leaked information; a sweep has its own, of section sweep
    section.lambda_start = 0.0  # lambda of the first update, reward per nat; read where there is a ramp
    section.lambda_ramp_updates = 0  # updates in which lambda moves from there in equal steps, a warm start; 0: none
    section.start_gate = 0.3  # P(act in a step) of the fresh policy; slot_rate, with start_along 0.5, is the mimic
    section.start_along = 0.75  # P(along its side | act) of the fresh policy
    section.leakage_source = "mine"  # whose posterior prices the leakage: mine, belief or exact
    section.exact_particles = 16  # K of the exact source's filters; more is less noise in the reward
    section.exact_private = 4  # private numbers that stand for N(0, 1) in them
    section.shortfall_credit = "marked"  # lots left are charged as value moves; horizon: at the end alone
    section.leakage_credit = "increment"  # paid per step as increments (telescopes to I) or by level (the reference's)
    section.mu_predictability = 0.1  # mu, reward per nat of predictability of its flow
    section.terminal_inventory_penalty = 10.0  # kappa, ticks per lot left over [reference: 100; more forbids hiding]
    section.is_unit_ticks = 17.0  # ticks per parent lot in one unit of reward: what haste saves
    return section


def market_maker() -> ConfigDict:
    """The market maker, who infers z from the anonymous tape."""
    section = ConfigDict()
    section.max_spread_ticks = 10  # largest offset of a quote from mid, ticks
    section.max_inventory_lots = 100  # lots [reference: 50; less than one parent order and it stops quoting midway]
    section.max_quote_size_lots = 10  # lots per quote and side, at least 1
    section.n_tape_events = 20  # latest tape events in its observation
    section.alpha_adverse_selection = 1.0  # alpha, weight of adverse selection; 1 marks its trades to V
    section.beta_entropy_reg = 0.05  # beta, reward per nat of belief entropy taken away, averaged over the episode
    section.gamma_belief_accuracy = 0.2  # reward per unit of belief accuracy, averaged over the episode
    section.belief_frozen = False  # True: b is p_z for everyone whatever the tape says; detection moves no price
    return section


def arbitrageur() -> ConfigDict:
    """The arbitrageur, who sees V at once and trades on the others' lag."""
    section = ConfigDict()
    section.max_position_lots = 20  # lots, either side
    section.order_size_lots = 5  # lots per immediate-or-cancel order; 0: no arbitrageur
    section.delta_belief_lag = 0.02  # delta, reward per unit of belief move after its trade [reference: 0.3]
    return section


def exact() -> ConfigDict:
    """The measurement by whoever knows the execution policy: the exact information of the order-level record."""
    section = ConfigDict()
    section.n_episodes = 512  # of the held-out ones, the first, that are read exactly; rounded up to whole batches
    section.n_particles = 128  # K, particles of each filter; the bracket narrows like 1 / K, the cost grows like K
    section.n_private = 16  # private numbers that stand for N(0, 1) among them; a divisor of n_particles is best
    return section


def networks() -> ConfigDict:
    """Widths of every network."""
    section = ConfigDict()
    section.execution_actor = ConfigDict({"hidden_dims": (256, 256)})  # units per hidden layer
    section.execution_actor.head = "beta"  # beta (Beta laws of size and offset), or tilt of the noise law: 0 mimics it
    section.mm_actor = ConfigDict({"hidden_dims": (256, 256)})  # units per hidden layer
    section.arb_actor = ConfigDict({"hidden_dims": (128, 128)})  # units per hidden layer
    section.belief_transformer = ConfigDict()
    section.belief_transformer.d_model = 128  # width of a token
    section.belief_transformer.n_heads = 4  # attention heads; divides d_model
    section.belief_transformer.n_layers = 4  # encoder layers
    section.belief_transformer.d_ff = 256  # units of the feed-forward layer
    section.belief_transformer.max_seq_len = 200  # attention window, steps
    section.belief_transformer.cache = "float32"  # type of the keys and values kept while playing; bfloat16: half of it
    section.belief_transformer.beta_entropy = 0.05  # weight of the entropy in its loss, nats per nat; undone on reading
    section.belief_transformer.target = "label"  # what it is fitted to: z, or exact, the posterior of whoever knows the
    #                                              policy, which costs what the exact source does
    section.shared_critic = ConfigDict()
    section.shared_critic.hidden_dims = (512, 512, 256)  # units per trunk layer, each with LayerNorm
    section.shared_critic.head_hidden_dim = 64  # units of a head, where the others' actions enter
    section.mine = ConfigDict()
    section.mine.hidden_dims = (256, 256)  # units per hidden layer of the statistics network
    section.mine.ema_decay = 0.99  # per update, of the partition's moving average in the gradient
    section.mine.estimator = "mine"  # bound that trains it: mine, nwj, barber_agakov, smile, or MODULE:NAME of yours
    section.predictor = ConfigDict({"hidden_dim": 64})  # width of the GRU that measures predictability
    return section


def training() -> ConfigDict:
    """The learner: PPO in two alternating phases, MINE, belief and replay."""
    section = ConfigDict()
    section.total_timesteps = 10_000_000  # environment steps, summed over environments; rounded up to whole updates
    section.n_envs = 128  # E, episodes per rollout [reference: 8; each class needs dozens for a gradient of I]
    section.n_epochs = 10  # PPO passes over a rollout
    section.n_minibatches = 4  # of whole environments, divides n_envs [reference: 256 steps; episodes are the unit]
    section.gamma = (1.0, 0.99, 0.99)  # discount per step of execution, maker, arbitrageur [reference: 0.99 for all;
    #                                    leakage increments telescope to I only without discount]
    section.gae_lambda = 0.95  # decay of generalised advantage estimation, per step
    section.clip_range = 0.2  # PPO clip of the probability ratio
    section.entropy_coef = 0.01  # loss per nat of policy entropy, at the first update
    section.entropy_coef_end = 0.0  # the same at the end: entropy kept for its own sake costs and leaks
    section.entropy_share = 0.5  # of the updates, in which it gets there on a straight line
    section.value_coef = 0.5  # weight of the value loss
    section.max_grad_norm = 0.5  # global-norm clip of a gradient
    section.lr_actor = 3e-4  # learning rate of the three actors, at the start
    section.lr_critic = 1e-3  # of the critic
    section.lr_mine = 1e-3  # of MINE and the predictor [reference: 1e-4; MINE then charges for three fifths of a leak]
    section.lr_belief = 3e-4  # of the belief
    section.lr_schedule = "linear"  # linear (to 0 at the last update) or constant
    section.weight_decay = 1e-5  # decoupled, per unit of learning rate
    section.n_mine_steps = 16  # MINE steps after each rollout, and predictor steps after those of phase A
    section.n_belief_steps = 16  # belief steps after each rollout of phase B, which share its episodes among them
    section.belief_microbatch = 8  # episodes per backward pass of the belief, about 40 MB each; divides n_envs; on an
    #                                accelerator four times as many
    section.replay_capacity = 256  # past episodes kept for the belief, packed; more are stale while policies move
    section.replay_batch = 8  # of them per belief step, beside the fresh ones
    section.replay_alpha = 0.6  # exponent of priorities: 0 samples uniformly
    section.replay_beta = 1.0  # exponent of importance weights: 1 corrects fully, less leaves the belief too unsure
    section.frozen = "none"  # agents that keep their policy, as maker+arbitrageur; what reads the tape is fitted on
    section.alternating = ConfigDict()
    section.alternating.enabled = True  # False trains all agents at once, the ablation
    section.alternating.exec_phase_steps = 1000  # steps per environment in phase A, rounded up to whole episodes
    section.alternating.mm_arb_phase_steps = 1000  # likewise in phase B
    return section


def sweep() -> ConfigDict:
    """The lanes of ``python -m amarl_jax.sweep``; a single run does not read them."""
    section = ConfigDict()
    section.lambda_min = 0.0  # smallest penalty, reward per nat; always on the grid
    section.lambda_max = 4.0  # largest penalty, reward per nat
    section.n_lambdas = 14  # penalties: 0, 1/16, 0.088, 1/8, ..., 2, 2.83, 4
    section.points_per_octave = 2.0  # points per doubling of lambda - lambda_min below lambda_max; 0: equal spacing
    section.n_seeds = 8  # independent seeds at each penalty; with fewer no interval and no verdict is given
    section.axis = "none"  # setting that differs between arms, as "environment.latency_ms.arbitrageur"; none: one arm
    section.axis_values = (0.0,)  # of that setting, in its unit, one arm each; not read with axis none
    section.lanes_at_once = 0  # lanes, per device and at most; 0: as many as fit, on a CPU 8, which its caches hold
    return section


def logging() -> ConfigDict:
    """What a run writes and how often."""
    section = ConfigDict()
    section.log_interval = 1  # updates per compiled chunk and log line [reference: 10 rollouts; the run has 34 updates]
    section.use_tensorboard = True  # TensorBoard events beside metrics.jsonl; of a sweep one run per lane
    section.use_wandb = False  # Weights & Biases, of single runs; needs the wandb extra
    section.wandb_project = "adversarial-market-marl"  # its project
    section.verbose = True  # progress lines
    return section
