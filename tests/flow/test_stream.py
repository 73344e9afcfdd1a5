"""A recorded day order by order: found as it was sent, kept in a file, played by a configuration."""

import dataclasses

import numpy as np
import pytest

from amarl_jax import config as configuration
from amarl_jax.errors import ConfigError
from amarl_jax.flow.law import text_of
from amarl_jax.flow.stream import Stream, orders_by_step, read_stream, save_stream, steps_at_rest, stream_of
from amarl_jax.host.saved_config import fingerprint
from amarl_jax.host.stages import say_recorded
from amarl_jax.market.recorded_noise import RecordedNoise, recorded_noise
from tests.flow.test_fit import LIFETIME, fitted, known

__all__ = ["fitted", "known"]


@pytest.fixture(scope="module")
def folder(fitted, tmp_path_factory):
    """A fitted day with its orders."""
    folder = tmp_path_factory.mktemp("day")
    (folder / "flow.json").write_text(text_of(fitted.flow))
    (folder / "stream.npz").write_bytes(save_stream(stream_of(fitted)))
    return folder


def test_orders_are_those_of_the_day_in_its_units(known, fitted):
    _, (side, is_limit, behind, _), _, lots, seconds = known
    found, step = stream_of(fitted), fitted.flow.step_seconds
    n = len(found.side)
    assert 0 <= len(seconds) - 1 - n <= 30, "but the last step, which is not whole"
    np.testing.assert_array_equal(found.side, side[1 : 1 + n])
    np.testing.assert_array_equal(found.lots, lots[1 : 1 + n])
    np.testing.assert_array_equal(found.is_limit, is_limit[1 : 1 + n])
    np.testing.assert_array_equal(found.offset, np.where(is_limit, behind, fitted.flow.offset_min)[1 : 1 + n])
    counts = orders_by_step(found)
    np.testing.assert_array_equal(
        counts, np.histogram((seconds[1:] - seconds[1]) / step, np.arange(found.n_steps + 1))[0]
    )
    at = np.repeat(np.arange(found.n_steps), counts) + found.time / 65_536
    np.testing.assert_allclose(at, ((seconds[1:] - seconds[1]) / step)[:n], atol=2e-5)


def test_orders_rest_as_long_as_their_owners_let_them_and_those_that_traded_longer(known, fitted):
    found, resting = stream_of(fitted), fitted.resting
    steps = steps_at_rest(found)
    n, step = len(found.side), fitted.flow.step_seconds
    place = {row: i for i, row in enumerate(resting.row.tolist())}
    at = (fitted.orders.time - fitted.orders.time[0]) / step
    exact = 0
    for i in range(n):
        if not found.is_limit[i] or fitted.orders.rest[i] not in place:
            continue
        j = place[fitted.orders.rest[i]]
        seen = max(int(np.floor(at[i] % 1 + resting.seconds[j] / step + 0.5)), 1)
        assert steps[i] >= seen
        if resting.cancelled[j]:
            assert steps[i] == seen
            assert found.lifetime[i] / 65_536 * step == pytest.approx(resting.seconds[j], abs=1e-4)
            exact += 1
    assert exact > n / 3
    assert steps[found.is_limit].mean() * step == pytest.approx(LIFETIME + step / 2, rel=0.1)
    assert found.lifetime[found.is_limit].mean() / 65_536 * step == pytest.approx(LIFETIME, rel=0.1)
    assert (found.lifetime[~found.is_limit] == 0).all()


def test_a_file_holds_all_of_it_and_nothing_else_is_read(folder, tmp_path, fitted):
    found, again = stream_of(fitted), read_stream(folder / "stream.npz")
    for field in dataclasses.fields(found):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(again, field.name))
    assert found.digest == again.digest
    for name, value, says in (
        ("lots", found.lots * 0, "lots: holds a number out of its range"),
        ("side", found.side[:-1], "time: must be one uint16 for each order"),
        ("first", found.first[::-1].copy(), "first: must ascend from 0 to the number of orders"),
    ):
        (tmp_path / "stream.npz").write_bytes(save_stream(dataclasses.replace(found, **{name: value})))
        with pytest.raises(ValueError, match=rf"stream\.npz: {says}"):
            read_stream(tmp_path / "stream.npz")
    (tmp_path / "stream.npz").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"stream\.npz: is no stream that fit_flow wrote"):
        read_stream(tmp_path / "stream.npz")


def recorded(folder, **changes):
    named = {"environment.flow": str(folder / "flow.json"), "environment.noise_law": "recorded"}
    return named | {f"environment.{name}": value for name, value in changes.items()}


def test_a_configuration_plays_the_day(folder, fitted):
    config = configuration.load("configs/fast_debug.py", recorded(folder))
    experiment = configuration.resolve(config)
    law, bound = experiment.game.noise_law, experiment.market_spec.max_noise_orders
    assert isinstance(law, RecordedNoise)
    assert experiment.env_params.tilt_per_tick == 0.0
    assert bound == 27, "half as many again as the 18 of a Poisson law of 10"
    n, horizon = law.n_steps, experiment.market_spec.horizon
    assert experiment.env_params.windows.tolist() == [
        [0, n - round(0.2 * n) - horizon + 1],
        [n - round(0.2 * n), n - horizon + 1],
    ]
    again = configuration.resolve(configuration.load_json(configuration.save_json(config)))
    assert again.market_spec == experiment.market_spec
    assert again.game.noise_law == law


def test_no_order_is_lost_to_the_bound_whatever_it_is(folder, fitted):
    whole = recorded_noise(stream_of(fitted))
    laws = [
        configuration.resolve(configuration.load("configs/fast_debug.py", recorded(folder, max_noise_orders=n)))
        for n in (18, 27, 400)
    ]
    steps = [one.game.noise_law.n_steps for one in laws]
    assert steps[0] > steps[2] == whole.n_steps
    for one in laws:
        law, bound = one.game.noise_law, one.market_spec.max_noise_orders
        assert np.diff(law.first).max() <= bound
        np.testing.assert_array_equal(law.packed >> 16, whole.packed >> 16)  # all but lifetimes
    assert laws[2].game.noise_law == whole != laws[0].game.noise_law


def busy():
    """Four steps of 72 orders each."""
    n = 288
    return Stream(
        np.arange(0, n + 1, 72, dtype=np.int32),
        np.zeros(n, np.uint16),
        np.ones(n, np.int8),
        np.ones(n, bool),
        np.ones(n, np.uint8),
        np.zeros(n, np.int8),
        np.zeros(n, np.uint32),
    )


def test_a_changed_recording_is_another_configuration(folder, tmp_path, fitted):
    for name in ("flow.json", "stream.npz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    text = configuration.save_json(configuration.load("configs/fast_debug.py", recorded(tmp_path)))
    before = fingerprint(text)
    (tmp_path / "stream.npz").write_bytes(save_stream(stream_of(fitted, seed=1)))
    assert fingerprint(text) != before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tilt_per_tick": 0.1}, "environment.tilt_per_tick = 0.1: must be 0.0, as the recorded law of"),
        ({"noise_trader_arrival_rate": 3.0}, "environment.noise_trader_arrival_rate = 3.0: must be 10"),
        ({"max_steps_per_episode": 200}, "environment.max_steps_per_episode = 200: must be fewer, of the"),
        ({"tilt_max": 0.1}, "environment.tilt_max = 0.1: must be 0.0, as the recorded law of"),
        ({"order_lifetime_steps": 3.0}, "environment.order_lifetime_steps = 3.0: must be .*, as the recorded law of"),
        ({"held_out_share": 0.01}, "environment.max_steps_per_episode = 50: must be fewer, .* windows of 50 steps"),
    ],
)
def test_what_a_recording_does_not_play_is_one_line(changes, says, folder):
    with pytest.raises(ConfigError, match=says) as caught:
        configuration.load("configs/fast_debug.py", recorded(folder, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("law", ["beta", "table"])
def test_a_share_that_no_law_holds_out_is_one_line(law, folder):
    given = recorded(folder, noise_law=law, held_out_share=0.3)
    with pytest.raises(ConfigError, match=rf"held_out_share = 0.3: must be 0.2, .* noise_law {law} plays no windows"):
        configuration.load("configs/fast_debug.py", given)
    configuration.load("configs/fast_debug.py", recorded(folder, noise_law=law, held_out_share=0.2))


def test_a_run_says_how_a_busy_recording_is_played(folder, capsys):
    for bound, warns in ((18, True), (400, False)):
        experiment = configuration.resolve(
            configuration.load("configs/fast_debug.py", recorded(folder, max_noise_orders=bound))
        )
        say_recorded(experiment)
        said = capsys.readouterr().out
        assert said.startswith("noise: ")
        assert ("are played as several" in said) == warns
    law = recorded_noise(busy(), 18)
    say_recorded(dataclasses.replace(experiment, noise_law=law))
    assert "warning: these are 300% more steps than were recorded" in capsys.readouterr().out


def test_a_flow_without_its_recording_is_one_line(folder, tmp_path):
    (tmp_path / "flow.json").write_bytes((folder / "flow.json").read_bytes())
    with pytest.raises(
        ConfigError, match=r"noise_law = 'recorded': must be table, .*stream.npz: no such file; fit_flow"
    ):
        configuration.load("configs/fast_debug.py", recorded(tmp_path))
