"""The command from files to flow.json, and a configuration that uses it."""

import dataclasses
import json

import numpy as np
import pytest

from amarl_jax import config as configuration
from amarl_jax import fit_flow
from amarl_jax.errors import BadInput, ConfigError
from amarl_jax.flow.facts import UNITS
from amarl_jax.flow.law import read_flow, text_of
from amarl_jax.host import cli
from amarl_jax.host.checkpoint_record import Record, Training, require_training
from amarl_jax.host.saved_config import fingerprint
from amarl_jax.market.noise import orders
from amarl_jax.market.table_noise import TableNoise
from tests.lob.test_lobster import FIXTURE, STEM
from tests.lob.test_order_feed import DATABENTO, databento
from tests.tiny_runs import jax_settings

__all__ = ["jax_settings"]

MESSAGES = f"--messages={FIXTURE / f'{STEM}_message_10.csv'}"
ORDERBOOK = f"--orderbook={FIXTURE / f'{STEM}_orderbook_10.csv'}"


def invoke(*arguments):
    return cli.run(fit_flow.main, "Usage.", fit_flow.define_flags, argv=["command", *arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, jax_settings):
    """A fitted fixture, nothing simulated."""
    folder = tmp_path_factory.mktemp("fit") / "flow"
    assert invoke(MESSAGES, ORDERBOOK, f"--output={folder}", "--episodes=0") == 0
    return folder


def test_the_command_writes_laws_and_facts(folder):
    flow = read_flow(folder / "flow.json")
    facts = json.loads((folder / "facts.json").read_text())
    assert np.sum(flow.table) == pytest.approx(1, abs=1e-4)
    assert flow.rate == pytest.approx(10)
    assert facts["simulated"] == {} == facts["distances"]
    assert set(facts["recorded"]["quantiles"]) | set(facts["recorded"]["curves"]) == set(UNITS)
    assert (folder / "facts.png").read_bytes().startswith(b"\x89PNG")


def test_a_flow_sets_what_it_speaks_of_and_what_is_given_stays(folder):
    path, flow = str(folder / "flow.json"), read_flow(folder / "flow.json")
    config = configuration.load("configs/fast_debug.py", {"environment.flow": path})
    experiment = configuration.resolve(config)
    spec, params = experiment.market_spec, experiment.env_params
    assert (spec.offset_min_ticks, spec.offset_max_ticks) == (flow.offset_min, flow.offset_max)
    assert (spec.max_order_size, spec.initial_sizes) == (flow.max_lots, (flow.opening_lots,))
    assert params.flow.lots_cdf.shape == (1 + spec.n_offsets, spec.max_order_size)
    np.testing.assert_allclose(np.diff(params.flow.place_cdf, prepend=0), np.sum(flow.table, 1), atol=1e-5)
    assert experiment.game.noise_law == TableNoise()
    assert params.lifetime_steps == flow.lifetime_steps
    again = configuration.resolve(configuration.load_json(configuration.save_json(config)))
    assert again.market_spec == spec
    np.testing.assert_array_equal(again.env_params.flow.lots_cdf, params.flow.lots_cdf)
    given = {"environment.flow": path, "environment.noise_law": "beta", "environment.order_lifetime_steps": 7.0}
    other = configuration.resolve(configuration.load("configs/fast_debug.py", given))
    assert other.game.noise_law is orders
    assert other.env_params.flow is None
    assert other.env_params.lifetime_steps == 7.0
    assert other.env_params.market_order_probability == pytest.approx(np.sum(flow.table[0]), abs=1e-5)


FROM_A_FILE = """
from amarl_jax import config
def get_config(variant=""):
    settings = config.load("configs/default.py")
    settings.environment.flow = {path!r}
    settings.environment.order_lifetime_steps = 7.0
    return settings
"""


def test_a_flow_that_a_configuration_file_names_is_that_of_the_command_line(folder, tmp_path):
    path, other = str(folder / "flow.json"), tmp_path / "other.json"
    (tmp_path / "own.py").write_text(FROM_A_FILE.format(path=path))
    own = configuration.load(tmp_path / "own.py")
    given = {"environment.flow": path, "environment.order_lifetime_steps": 7.0}
    assert configuration.flatten(own) == configuration.flatten(configuration.load("configs/default.py", given))
    assert own.environment.noise_law == "table"
    beta = configuration.load(tmp_path / "own.py", {"environment.noise_law": "beta"})
    assert beta.environment.offset_max_ticks == own.environment.offset_max_ticks
    other.write_text(text_of(dataclasses.replace(read_flow(path), rate=3.0)))
    assert configuration.load(tmp_path / "own.py", {"environment.flow": str(other)}).environment.flow == str(other)
    none = configuration.load(tmp_path / "own.py", {"environment.flow": "none"})
    assert none.environment.noise_law == "beta"
    runs, arguments = [], ["train", f"--config={tmp_path / 'own.py'}", "--dry_run", f"--workdir={tmp_path / 'run'}"]
    assert cli.run(lambda values: runs.append(cli.open_from_flags(values)), "Usage.", argv=arguments) == 0
    assert runs[0].experiment.market_spec == configuration.resolve(own).market_spec, "a command's configuration too"


def test_whatever_a_flow_says_its_settings_are_within_their_ranges(folder, tmp_path):
    flow = read_flow(folder / "flow.json")
    one_lot = np.ones((len(flow.table), 1)) / len(flow.table)
    largest = np.zeros((len(flow.table), 5))
    largest[:, -1] = 1 / len(flow.table)
    extremes = (
        {"table": one_lot.tolist()},
        {"table": largest.tolist()},
        {"rate": 900.0, "lifetime_steps": 1e6},
        {"rate": 1e-6, "lifetime_steps": 1.0},
        {"opening_levels": 100, "opening_lots": 127, "tick": 10**9, "mid": 1e9},
    )
    for number, changes in enumerate(extremes):
        path = tmp_path / f"{number}.json"
        path.write_text(text_of(dataclasses.replace(flow, **changes)))
        configuration.load("configs/default.py", {"environment.flow": str(path)})


def test_a_workdir_whose_flow_was_changed_is_refused_by_its_checkpoints(folder, tmp_path):
    path = tmp_path / "flow.json"
    path.write_bytes((folder / "flow.json").read_bytes())
    text = configuration.save_json(configuration.load("configs/default.py", {"environment.flow": str(path)}))
    mark = fingerprint(text)
    record = Record(3, "", {}, Training(mark, "", 0, ""))
    require_training(record, {"configuration": fingerprint(text)}, "checkpoint 3")
    beta = configuration.load("configs/default.py", {"environment.flow": str(path), "environment.noise_law": "beta"})
    table = np.array(read_flow(path).table)
    path.write_text(text_of(dataclasses.replace(read_flow(path), table=table[:, ::-1].tolist())))
    with pytest.raises(BadInput, match=r"checkpoint 3: the file that environment.flow names is not the one"):
        require_training(record, {"configuration": fingerprint(text)}, "checkpoint 3")
    with pytest.raises(BadInput, match=r"config.json is not the configuration"):
        require_training(record, {"configuration": fingerprint(text.replace("390", "391"))}, "checkpoint 3")
    assert "+" not in fingerprint(configuration.save_json(beta)), "with sizes of a Beta law the file is not read"


def test_a_tilt_is_taken_only_where_orders_lean_against_the_price(folder, tmp_path):
    flow = read_flow(folder / "flow.json")
    for slope, expected in ((0.02, 0.02), (-0.02, 0.05), (0.0002, 0.05)):
        path = tmp_path / f"{slope}.json"
        path.write_text(text_of(dataclasses.replace(flow, tilt_per_tick=slope, tilt_stderr=0.001, tilt_max=0.2)))
        values = configuration.flatten(configuration.load("configs/default.py", {"environment.flow": str(path)}))
        assert values["environment.tilt_per_tick"] == expected


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"environment.flow": "nowhere.json"}, "environment.flow = .*nowhere.json.*no such file"),
        ({"environment.flow": "FOLDER"}, "environment.flow = .*is not a file"),
        ({"environment.flow": "FOLDER/facts.json"}, "facts.json.*format: must be 1, as fit_flow writes it"),
        (
            {"environment.noise_law": "table"},
            "environment.noise_law = 'table': must be beta, or beside environment.flow",
        ),
        (
            {"environment.held_out_share": 0.5},
            "environment.held_out_share = 0.5: must be 0.2, .* noise_law beta plays no",
        ),
        (
            {"environment.flow": "FOLDER/flow.json", "environment.offset_max_ticks": 40},
            "environment.offset_max_ticks = 40: must be .*, as the table law of .*flow.json has it",
        ),
        (
            {"environment.flow": "FOLDER/flow.json", "environment.market_order_probability": 0.5},
            "environment.market_order_probability = 0.5: must be 0.*, as the table law of .* has it, or noise_law",
        ),
        (
            {"environment.flow": "FOLDER/flow.json", "environment.noise_order_size_std": 1.5},
            "environment.noise_order_size_std = 1.5: must be .*, as the table law of .*flow.json has it",
        ),
        (
            {"environment.flow": "FOLDER/flow.json", "sweep.axis": "environment.market_order_probability"},
            "sweep.axis = 'environment.market_order_probability': must be another .*noise_law table does not read it",
        ),
    ],
)
def test_a_flow_that_cannot_be_used_is_one_line(changes, says, folder):
    changes = {
        name: value.replace("FOLDER", str(folder)) if isinstance(value, str) else value
        for name, value in changes.items()
    }
    with pytest.raises(ConfigError, match=says) as caught:
        configuration.load("configs/default.py", changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--output is required"),
        (["--output=OUT"], "--messages is required, a CSV file beside --orderbook, or --orders"),
        (["--output=OUT", MESSAGES], "--orderbook is required, a CSV file"),
        (["--output=OUT", MESSAGES, "--orders=x"], "not beside --orders, which holds every order itself"),
        (
            ["--output=OUT", MESSAGES, ORDERBOOK, "--instrument=7"],
            "--instrument=7: only beside --orders, whose columns",
        ),
        (
            ["--output=OUT", MESSAGES, ORDERBOOK, "--columns=itch"],
            "--columns=itch: only beside --orders, whose columns",
        ),
        (["--output=OUT", "--orders=x"], "--orders x: no such file"),
        (
            ["--output=OUT", "--orders=FEW", "--columns=cqg"],
            "--columns cqg: no such file; one of databento, itch, or a",
        ),
        (["--output=OUT", "--orders=FEW"], "the recording has 2 limit orders while both sides stand, too few to fit"),
        (["--output=OUT", MESSAGES, ORDERBOOK, "--tick=150"], "--tick: 150 must be a multiple of the recorded 100"),
        (["--output=FOLDER", MESSAGES, ORDERBOOK], "already holds a fitted flow (flow.json); choose another folder"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(arguments, says, folder, tmp_path, capsys):
    (tmp_path / "few.csv").write_text(databento(DATABENTO))
    places = {"OUT": tmp_path / "out", "FEW": tmp_path / "few.csv", "FOLDER": folder}
    for word, path in places.items():
        arguments = [argument.replace(f"={word}", f"={path}") for argument in arguments]
    assert invoke(*arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error
    assert not (tmp_path / "out").exists()
