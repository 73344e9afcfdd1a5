"""Configurations: loaded, checked and resolved; one long table of what is refused, and why."""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from amarl_jax import config as configuration
from amarl_jax.config import ConfigError
from amarl_jax.config.consistency import size_beta, smallest_noise_bound
from amarl_jax.config.grid import check_grid, lanes_of
from amarl_jax.config.settings import FOREIGN, SETTINGS
from amarl_jax.learn.hypers import Hypers, LearnSpec
from amarl_jax.market.noise import size_distribution
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.rewards import RewardWeights
from amarl_jax.nets.spec import BeliefSpec, NetworkSpec

ROOT = Path(__file__).parents[2]

DOCUMENTED = {
    "environment.max_steps_per_episode": 390,
    "environment.n_price_levels": 20,
    "environment.tick_size": 0.01,
    "environment.initial_mid_price": 100.0,
    "environment.noise_trader_arrival_rate": 10.0,
    "environment.noise_order_size_mean": 5.0,
    "environment.noise_order_size_std": 2.0,
    "environment.latency_ms.execution_agent": 100.0,
    "environment.latency_ms.market_maker": 10.0,
    "environment.latency_ms.arbitrageur": 1.0,
    "agents.execution.inventory_lots": 100,
    "agents.execution.horizon": 390,
    "agents.execution.max_order_size": 20,
    "agents.execution.lambda_leakage": 0.5,
    "agents.execution.mu_predictability": 0.1,
    "agents.market_maker.alpha_adverse_selection": 1.0,
    "agents.market_maker.beta_entropy_reg": 0.05,
    "agents.market_maker.gamma_belief_accuracy": 0.2,
    "agents.market_maker.max_spread_ticks": 10,
    "agents.market_maker.max_quote_size_lots": 10,
    "agents.arbitrageur.max_position_lots": 20,
    "networks.belief_transformer.d_model": 128,
    "networks.belief_transformer.n_heads": 4,
    "networks.belief_transformer.n_layers": 4,
    "networks.belief_transformer.d_ff": 256,
    "networks.belief_transformer.max_seq_len": 200,
    "networks.belief_transformer.beta_entropy": 0.05,
    "networks.execution_actor.hidden_dims": (256, 256),
    "networks.mm_actor.hidden_dims": (256, 256),
    "networks.arb_actor.hidden_dims": (128, 128),
    "networks.shared_critic.hidden_dims": (512, 512, 256),
    "networks.mine.hidden_dims": (256, 256),
    "networks.mine.ema_decay": 0.99,
    "training.total_timesteps": 10_000_000,
    "training.n_envs": 128,
    "training.n_epochs": 10,
    "training.gamma": (1.0, 0.99, 0.99),
    "training.gae_lambda": 0.95,
    "training.clip_range": 0.2,
    "training.entropy_coef": 0.01,
    "training.value_coef": 0.5,
    "training.max_grad_norm": 0.5,
    "training.lr_actor": 3e-4,
    "training.lr_critic": 1e-3,
    "training.lr_belief": 3e-4,
    "training.weight_decay": 1e-5,
    "training.lr_schedule": "linear",
    "training.alternating.exec_phase_steps": 1000,
    "training.alternating.mm_arb_phase_steps": 1000,
}

OTHER_VALUES = {  # where the next number up is not a valid change
    "networks.execution_actor.head": "tilt",
    "environment.max_noise_orders": 25,
    "agents.execution.lambda_start": 0.5,
    "training.n_envs": 64,
    "training.n_minibatches": 2,
    "training.belief_microbatch": 4,
    "training.replay_batch": 40,
    "training.total_timesteps": 20_000_000,
    "networks.belief_transformer.d_model": 64,
    "networks.belief_transformer.n_heads": 8,
    "training.lr_schedule": "constant",
    "training.entropy_coef_end": 0.001,
    "networks.belief_transformer.target": "exact",
    "networks.belief_transformer.cache": "bfloat16",
    "sweep.lambda_min": 0.5,
    "device": "cpu",
    "prng_impl": "rbg",
    "precision": "mixed",
    "networks.mine.estimator": "nwj",
    "training.frozen": "maker+arbitrageur",
    "agents.execution.leakage_source": "belief",
    "agents.execution.leakage_credit": "level",
    "agents.execution.shortfall_credit": "horizon",
    "logging.log_interval": 5,
    "training.gamma": (0.9, 0.9, 0.9),
    "training.alternating.exec_phase_steps": 2000,
    "training.alternating.mm_arb_phase_steps": 2000,
    "sweep.axis": "environment.latency_ms.arbitrageur",
}


@pytest.fixture(scope="module")
def default():
    return configuration.load("configs/default.py")


def flat_fields(value, prefix=""):
    """Every scalar or tuple of nested dataclasses by dotted name."""
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if dataclasses.is_dataclass(item):
            yield from flat_fields(item, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", item


def another(name, value):
    if name in OTHER_VALUES:
        return OTHER_VALUES[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, tuple):
        return (*value[:-1], value[-1] + 1)
    return value + 1 if isinstance(value, int) else value * 0.75


def test_default_holds_the_documented_values(default):
    values = configuration.flatten(default)
    assert {name: values[name] for name in DOCUMENTED} == DOCUMENTED


def test_typed_defaults_are_those_of_the_default_configuration(default):
    experiment = configuration.resolve(default)
    expected = (MarketSpec(), NetworkSpec(), LearnSpec(), EnvParams(), Hypers())
    for bag in expected:
        name = next(f.name for f in dataclasses.fields(experiment) if type(getattr(experiment, f.name)) is type(bag))
        ours = dict(flat_fields(getattr(experiment, name)))
        for field, value in flat_fields(bag):
            # the design prints the Beta parameters with two decimals
            tolerance = 0.005 if field.startswith("size_beta") else 0
            assert ours[field] == (pytest.approx(value, abs=tolerance) if tolerance else value), field


def test_every_typed_field_is_fed_by_a_setting():
    bags = {
        "market_spec": MarketSpec,
        "network_spec": NetworkSpec,
        "learn_spec": LearnSpec,
        "env_params": EnvParams,
        "hypers": Hypers,
        "weights": RewardWeights,
        "run": configuration.RunSettings,
        "sweep": configuration.SweepSettings,
    }
    fed = {field for setting in SETTINGS.values() for field in setting.feeds}
    fields = {f"{bag}.{f.name}" for bag, kind in bags.items() for f in dataclasses.fields(kind)}
    fields |= {f"network_spec.belief.{f.name}" for f in dataclasses.fields(BeliefSpec)}
    fields -= {"network_spec.belief", "env_params.size_cdf"}  # of the latter there is one inside of programs alone
    of_a_flag = {"learn_spec.n_devices"}
    assert fed == fields - of_a_flag | {"total_timesteps"}
    assert all(bool(setting.target) != bool(setting.converted) for setting in SETTINGS.values())


FROM_A_FILE = (
    "environment.noise_law",
    "environment.flow",
    "environment.held_out_share",
)  # see tests/flow/test_fit_flow.py


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in FROM_A_FILE])
def test_no_setting_is_dead(name, default):
    before = dict(flat_fields(configuration.resolve(default)))
    value = another(name, configuration.flatten(default)[name])
    overrides = {"checkpoint_interval": 5, name: value}
    after = dict(flat_fields(configuration.resolve(configuration.load("configs/default.py", overrides))))
    changed = {field for field, old in before.items() if after[field] != old}
    assert set(SETTINGS[name].feeds) <= changed


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.target])
def test_a_field_holds_the_value_of_the_setting_that_names_it(name, default):
    values, fields = configuration.flatten(default), dict(flat_fields(configuration.resolve(default)))
    assert fields[SETTINGS[name].target] == values[name]


@pytest.mark.parametrize("name", ["default", "fast_debug", "fast_debug:tiny", "lambda_sweep", "lambda_sweep:fast"])
def test_schema_and_configuration_have_the_same_names(name):
    assert set(configuration.flatten(configuration.load(name))) == set(SETTINGS)


@pytest.mark.parametrize("name", ["default", "fast_debug"])
def test_every_value_has_a_comment(name):
    lines = (ROOT / "configs" / f"{name}.py").read_text().splitlines()
    assigned = [line for line in lines if re.match(r"    (section|config|training|environment|agents)\.\S+ = ", line)]
    sections = re.compile(r"= (ConfigDict\(\)?|\w+\((horizon)?\))$|exp_name = \"fast|seed = 0")
    bare = [line for line in assigned if "#" not in line and not sections.search(line)]
    assert len(assigned) > 15
    assert not bare


def test_debug_column_of_the_calibration():
    experiment = configuration.resolve(configuration.load("configs/fast_debug.py"))
    market, params = experiment.market_spec, experiment.env_params
    assert (market.horizon, market.max_noise_orders, market.book_capacity) == (50, 12, 64)
    assert (params.parent_lots, params.noise_rate, params.slot_rate, params.max_spread_ticks) == (20, 5.0, 0.2, 5)
    assert (params.value_reversion, params.value_volatility_ticks, params.news_speed) == (0.2, 1.5, 0.3)
    assert params.is_unit_ticks == 16.0
    game = experiment.game
    assert [game.episodes_per_phase(agents) for agents in game.phases()] == [2, 2]


def test_updates_and_steps_by_hand(default):
    experiment = configuration.resolve(default)
    assert experiment.game.steps_per_update() == (3 + 3) * 390 * 128  # ceil(1000 / 390) = 3
    assert experiment.hypers.n_updates == 34  # ceil(10,000,000 / 299,520)
    uneven = {"training.alternating.enabled": False, "training.alternating.exec_phase_steps": 391}
    joint = configuration.resolve(configuration.load("default", uneven))
    assert joint.game.steps_per_update() == 3 * 390 * 128  # the longer phase


def test_noise_sizes_have_the_asked_mean_and_deviation(default):
    a, b = size_beta(configuration.flatten(default))
    law = stats.beta(a, b, scale=20)
    assert law.mean() == pytest.approx(5.0, rel=1e-12)  # rounding only
    assert law.std() == pytest.approx(2.0, rel=1e-12)
    assert (a, b) == pytest.approx((4.4375, 13.3125), rel=1e-12)


@pytest.mark.parametrize("rate", [0.0, 0.5, 5.0, 10.0, 80.0, 740.0, 950.0])
def test_noise_bound_is_the_poisson_quantile(rate):
    assert smallest_noise_bound(rate) == (stats.poisson(rate).ppf(0.99) if rate else 0)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("training.lr_actor", math.nan, "finite"),
        ("training.lr_actor", math.inf, "finite"),
        ("training.lr_actor", 1e39, "finite"),  # finite here, infinite in float32
        ("training.lr_actor", 0.0, "> 0"),
        ("training.n_envs", -8, ">= 2"),
        ("training.n_envs", 12.5, "integer"),
        ("seed", True, "integer"),
        ("environment.latency_ms.market_maker", -1.0, ">= 0"),
        ("environment.latency_ms.market_maker", 60_000.0, "< 60000"),
        ("environment.market_order_probability", 1.5, "<= 1"),
        ("environment.informed_probability", 0.001, "both classes"),
        ("environment.max_noise_orders", 17, "at least 18"),
        ("environment.noise_order_size_std", 9.0, "below 8.66"),
        ("environment.noise_order_size_std", 1e-19, "at least 0.0866"),  # sizes that are no numbers in float32
        ("environment.noise_order_size_std", 0.01, "at least 0.0866"),
        ("agents.execution.is_unit_ticks", 1e-60, ">= 0.001"),
        ("agents.execution.lambda_leakage", 1e-60, "in float32, it is 0"),
        ("agents.execution.lambda_leakage", 2.0**31, "<= 1000000"),
        ("training.lr_actor", 1e-60, "in float32, it is 0"),
        ("environment.informed_probability", 1 - 1e-9, "in float32, it is 1"),
        ("environment.latency_ms.market_maker", 59_999.9999, "in float32, it is 60000"),
        ("networks.belief_transformer.n_layers", 10**30, "<= 128"),
        ("networks.belief_transformer.d_model", 10**30, "<= 16384"),
        ("networks.mine.hidden_dims", (10**30,), "<= 16384"),
        ("networks.mine.hidden_dims", (64,) * 200_000, "1 to 32 integers"),
        pytest.param("training.n_envs", 10**5000, "<= 1048576", id="thousands of digits"),
        ("agents.market_maker.max_quote_size_lots", 1025, "<= 1024"),  # the book takes no larger order
        ("sweep.axis_values", (1.0,) * 2000, "1 to 1000"),
        ("environment.initial_sizes", (5, 0), ">= 1"),
        ("environment.initial_sizes", (5, "3"), "integers"),
        ("environment.book_capacity", 10, "above the 10"),
        ("environment.offset_min_ticks", 5, "offset_max_ticks"),
        ("training.n_minibatches", 3, "n_envs = 128"),
        ("training.belief_microbatch", 24, "n_envs = 128"),
        ("training.replay_batch", 12, "multiple"),
        ("training.replay_capacity", 4, "at least replay_batch = 8"),
        ("environment.informed_probability", 0.01, "each class has 8 of eval_episodes = 512"),
        ("training.gamma", (1.0, 0.99), "3 finite"),
        ("training.gamma", (1.0, 0.99, math.nan), "finite"),
        ("training.lr_schedule", "cosine", "linear, constant"),
        ("networks.belief_transformer.n_heads", 3, "d_model = 128"),
        ("networks.mine.estimator", "infonce", "barber_agakov"),
        ("agents.execution.leakage_source", "oracle", "mine, belief, exact"),
        ("agents.execution.leakage_credit", "terminal", "increment, level"),
        ("logging.log_interval", 2, "multiple of logging.log_interval"),
        ("exact.n_episodes", 19, ">= 20"),
        ("exact.n_particles", 4097, "<= 4096"),
        ("exact.n_private", 129, "n_particles = 128"),
        ("exp_name", " ", "non-empty"),
    ],
)
def test_a_bad_value_is_one_line_that_names_field_and_remedy(name, value, says):
    with pytest.raises(ConfigError) as error:
        configuration.load("configs/default.py", {name: value})
    message = str(error.value)
    assert says in message
    assert "\n" not in message
    assert len(message) < 400
    if name != "logging.log_interval":  # reported at the interval that must be its multiple
        assert message.startswith(name)


NUMBERS = {name: setting for name, setting in SETTINGS.items() if setting.kind in ("int", "float", "ints", "floats")}


@pytest.mark.parametrize("name", sorted(NUMBERS.keys() - {"sweep.axis_values"}))  # bounded by the setting they are of
def test_every_number_has_a_least_and_a_greatest_value(name):
    setting = NUMBERS[name]
    least, greatest = max(setting.low, setting.above), min(setting.high, setting.below)
    assert math.isfinite(least)
    assert math.isfinite(greatest)
    scalar = dataclasses.replace(setting, kind=setting.kind.removesuffix("s"))
    inclusive = [x for x in (setting.low, setting.high) if math.isfinite(x)]
    for bound in inclusive:
        assert scalar.admits(int(bound) if scalar.kind == "int" else float(bound)), "a bound that is allowed is seen so"
    beyond = [math.nextafter(least, -math.inf), math.nextafter(greatest, math.inf), -1e300, 1e300]
    beyond += [math.nextafter(setting.above, math.inf), math.nextafter(setting.below, -math.inf)]  # to float32 no less
    assert not any(scalar.admits(value) for value in beyond)


def test_whole_numbers_of_an_integer_setting_may_be_written_as_floats():
    given = {"training.total_timesteps": 1e7, "networks.mine.hidden_dims": [32.0, 16.0]}
    config = configuration.load("configs/default.py", given)
    assert type(config.training.total_timesteps) is int
    assert configuration.resolve(config).total_timesteps == 10_000_000
    assert configuration.resolve(config).network_spec.statistics_hidden == (32, 16)
    for value in (1e7 + 0.5, math.inf, math.nan):
        with pytest.raises(ConfigError, match="must be an integer"):
            configuration.load("configs/default.py", {"training.total_timesteps": value})


def test_more_environments_than_the_replay_holds_are_allowed():
    assert configuration.resolve(configuration.load("configs/default.py", {"training.n_envs": 4096})).n_updates == 2


@pytest.mark.parametrize("std", [0.1, 0.5, 8.0, 8.65])
def test_float32_has_the_law_of_sizes_to_a_percent_wherever_it_is_allowed(std):
    config = configuration.load("configs/default.py", {"environment.noise_order_size_std": std})
    params = configuration.resolve(config).env_params
    exact = stats.beta(params.size_beta_a, params.size_beta_b).cdf((np.arange(1, 20) + 0.5) / 20)
    np.testing.assert_allclose(size_distribution(params, 20)[:-1], exact, atol=0.01)


AXIS = {"sweep.axis": "environment.slot_rate"}


def test_arms_of_a_sweep_have_names_of_their_own():
    config = configuration.load("configs/lambda_sweep.py", AXIS | {"sweep.axis_values": (0.1, 0.10000001, 0.2)})
    arms = dict.fromkeys(lane.arm for lane in lanes_of(configuration.resolve(config)))
    assert list(arms) == ["slot_rate=0.1", "slot_rate=0.10000001", "slot_rate=0.2"]


@pytest.mark.parametrize("values", [(0.1, 0.1), (0.1, 0.3, 0.1 + 1e-12)])
def test_values_of_an_axis_that_are_one_number_are_refused(values):
    with pytest.raises(ConfigError, match=r"sweep.axis_values = 0\.1.*: must be another number"):
        configuration.load("configs/lambda_sweep.py", AXIS | {"sweep.axis_values": values})


def test_penalties_that_are_one_number_are_refused():
    crowded = {"sweep.n_lambdas": 300, "sweep.points_per_octave": 1}
    with pytest.raises(ConfigError, match=r"sweep.n_lambdas = 300: must be fewer"):
        configuration.load("configs/lambda_sweep.py", crowded)


def test_what_a_sweep_cannot_have_is_refused_with_the_reason():
    for name, value in (("seed", 2**31 - 3), ("logging.use_wandb", True)):
        experiment = configuration.resolve(configuration.load("configs/lambda_sweep.py", {name: value}))
        with pytest.raises(ConfigError, match=f"{name} = .*sweep|{name} = .*last of 8 seeds"):
            check_grid(experiment)
    check_grid(configuration.resolve(configuration.load("configs/lambda_sweep.py", {"seed": 2**31 - 8})))


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(ConfigError, match=r"training.lr_acto: no such setting; did you mean training.lr_actor"):
        configuration.load("configs/default.py", {"training.lr_acto": 1e-3})


def test_a_value_of_the_python_object_is_checked_too(default):
    config = configuration.load("configs/default.py")
    config.training.lr_actor = math.nan
    with pytest.raises(ConfigError, match=r"training\.lr_actor"):
        configuration.resolve(config)
    with config.unlocked():
        config.training.lr_actor = 1e-3
        config.training.learning_rate = 1e-3
    with pytest.raises(ConfigError, match=r"training\.learning_rate: no such setting"):
        configuration.validate(config)


@pytest.mark.parametrize("name", FOREIGN)
def test_reference_names_without_meaning_say_why_and_are_documented(name):
    with pytest.raises(ConfigError, match=re.escape(f"{name}: no such setting; {FOREIGN[name]}")):
        configuration.load("configs/default.py", {name: 1})
    assert f"`{name}`" in (ROOT / "docs" / "configuration.md").read_text()


def test_the_horizon_is_one_value_under_two_names():
    config = configuration.load("configs/default.py", {"agents.execution.horizon": 100})
    assert config.environment.max_steps_per_episode == 100
    assert configuration.resolve(config).market_spec.horizon == 100
    both = {"agents.execution.horizon": 100, "environment.max_steps_per_episode": 50}
    with pytest.raises(ConfigError, match="other name"):
        configuration.load("configs/default.py", both)


def test_a_saved_configuration_comes_back_with_its_tuples():
    config = configuration.load("configs/fast_debug.py", {"training.gamma": (1.0, 0.5, 0.25), "seed": 3})
    again = configuration.load_json(configuration.save_json(config))
    assert configuration.flatten(again) == configuration.flatten(config)
    assert again.training.gamma == (1.0, 0.5, 0.25)
    assert configuration.resolve(again) == configuration.resolve(config)


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"seed": "x"}', '{"sed": 1}'])
def test_a_broken_saved_configuration_is_refused(text):
    with pytest.raises(ConfigError):
        configuration.load_json(text)


def test_the_sweeps_grid_by_hand():
    """A ladder of halvings contains the round penalties exactly; its other half is sqrt(2) between them."""
    fast = configuration.resolve(configuration.load("configs/lambda_sweep.py:fast")).sweep
    assert fast.lambdas() == (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
    full = configuration.resolve(configuration.load("configs/lambda_sweep.py")).sweep
    assert full.lambdas()[1::2] == (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0)
    assert full.lambdas()[-2] == pytest.approx(4 / 2**0.5)
    assert full.lambdas()[0] == 0.0
    assert len(full.lambdas()) == full.n_lambdas == 14
    even = dataclasses.replace(full, lambda_min=1.0, n_lambdas=4, points_per_octave=0)
    assert even.lambdas() == (1.0, 2.0, 3.0, 4.0)
    with pytest.raises(configuration.ConfigError, match=r"sweep.lambda_min = 5.0: must be below lambda_max = 4"):
        configuration.load("configs/lambda_sweep.py", {"sweep.lambda_min": 5.0})


@pytest.mark.parametrize(("total", "n_envs", "n_updates"), [(1, 128, 1), (299_521, 128, 2), (10_000_000, 16_384, 1)])
def test_steps_are_rounded_up_to_whole_updates(total, n_envs, n_updates):
    """However many environments: an update of 16,384 takes 38 million steps."""
    given = {"training.total_timesteps": total, "training.n_envs": n_envs}
    experiment = configuration.resolve(configuration.load("configs/default.py", given))
    assert (experiment.n_updates, experiment.hypers.n_updates) == (n_updates, n_updates)
