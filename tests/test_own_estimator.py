"""An estimator of the user's own in training: named as ``module:name``, imported only where the user names it."""

import shutil
import sys

import jax
import jax.numpy as jnp
import pytest

import amarl_jax
from amarl_jax import config as configuration
from amarl_jax import evaluate, train
from amarl_jax.config.settings import ESTIMATOR, SETTINGS
from amarl_jax.errors import ConfigError
from amarl_jax.information import estimators
from amarl_jax.learn.optimiser import untrained
from amarl_jax.learn.tape_readers import critic_step
from tests.tiny_runs import TINY, edit_config, jax_settings

__all__ = ["jax_settings"]

PLACE = "estimators_of_mine:Halved"
SOURCE = """
import dataclasses
import pathlib

from amarl_jax.information.estimators import Mine

pathlib.Path("imported").touch()


@dataclasses.dataclass(frozen=True)
class Halved(Mine):
    name: str = "halved"

    def bound(self, scores, labels, prior):
        return super().bound(0.5 * scores, labels, prior)


nothing = 3
"""


@pytest.fixture
def fresh_process(tmp_path, monkeypatch):
    """Forget what was named: what a process has that begins in a folder with the user's module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(estimators, "REGISTRY", dict(estimators.REGISTRY))
    (tmp_path / "estimators_of_mine.py").write_text(SOURCE)

    def forget():
        estimators.REGISTRY.pop(PLACE, None)
        sys.modules.pop("estimators_of_mine", None)
        (tmp_path / "imported").unlink(missing_ok=True)

    yield forget
    forget()


@pytest.fixture
def workdir(workdirs, tmp_path, fresh_process):
    """Of a run that was trained with it; nobody has named it in this process."""
    path = shutil.copytree(workdirs["run"], tmp_path / "own")
    edit_config(path, lambda document: document["networks"]["mine"].update(estimator=PLACE))
    return path


def test_the_setting_names_what_trains_the_critic(fresh_process, monkeypatch):
    experiment = configuration.resolve(configuration.load(TINY, {ESTIMATOR: PLACE}))
    game = experiment.game
    assert experiment.learn_spec.mi_estimator == PLACE
    assert type(game.estimator).__name__ == "Halved"
    asked = []
    loss = type(game.estimator).loss
    monkeypatch.setattr(type(game.estimator), "loss", lambda *given: asked.append(1) or loss(*given))

    def step(weights):
        critic = (untrained({"weights": weights}, experiment.hypers), game.estimator.init((2,)))
        z, rate = jnp.array([0, 1, 0, 1]), jnp.float32(1e-3)
        return critic_step(critic, lambda network: network["weights"], z, 0.5, rate, game, experiment.hypers)

    jax.eval_shape(step, jax.ShapeDtypeStruct((4, 2, 2), jnp.float32))
    assert asked == [1]


def test_a_name_registered_late_is_a_setting_too(fresh_process):
    with pytest.raises(ConfigError, match="must be one of barber_agakov, mine, nwj, smile, or module:name"):
        configuration.load(TINY, {ESTIMATOR: "halved"})
    estimators.register(type(estimators.named(PLACE))())
    assert configuration.load(TINY, {ESTIMATOR: "halved"}).networks.mine.estimator == "halved"
    assert "halved" in SETTINGS[ESTIMATOR].allowed


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("estimators_of_nobody:Halved", "ModuleNotFoundError: No module named 'estimators_of_nobody'"),
        ("estimators_of_mine:Doubled", "AttributeError: module 'estimators_of_mine' has no attribute 'Doubled'"),
        ("estimators_of_mine:nothing", "ValueError: estimator must be a name or an MIEstimator, got 3"),
        (":Halved", "ValueError: Empty module name"),
    ],
)
def test_what_is_no_estimator_is_one_line(place, why, fresh_process, capsys):
    assert train.command(["train", f"--config={TINY}", f"--config.{ESTIMATOR}={place}", "--dry_run"]) == 2
    line = f"error: {ESTIMATOR} = {place!r}: must be module:name of an estimator of yours ({why})\n"
    assert capsys.readouterr().err == line


REFUSED = f"{ESTIMATOR} = {PLACE!r}: must be named again, as --estimator={PLACE}: no file says what is imported"


def test_a_workdir_alone_imports_nothing(workdir, tmp_path, capsys):
    assert evaluate.command(["evaluate", f"--workdir={workdir}"]) == 2
    assert capsys.readouterr().err == f"error: {REFUSED}\n"
    assert train.command(["train", "--resume", f"--workdir={workdir}"]) == 2
    assert capsys.readouterr().err == f"error: {REFUSED}\n"
    with pytest.raises(ConfigError, match=f"^{REFUSED}$"):
        amarl_jax.load_policy(workdir)
    assert not (tmp_path / "imported").exists()


def test_a_command_that_names_it_again_goes_on(workdir, fresh_process, tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(train, "run_training", lambda run, source: opened.append(run))
    assert evaluate.command(["evaluate", f"--workdir={workdir}", f"--estimator={PLACE}", "--lane=3"]) == 2
    assert "--lane=3: " in capsys.readouterr().err  # what is wrong behind it
    assert (tmp_path / "imported").exists()
    for again in ([f"--estimator={PLACE}"], [f"--config={TINY}", f"--config.{ESTIMATOR}={PLACE}"]):
        fresh_process()
        assert train.command(["train", "--resume", f"--workdir={workdir}", *again]) == 0
        assert opened.pop().experiment.learn_spec.mi_estimator == PLACE
    for command in (evaluate, train):
        arguments = [f"--workdir={workdir}", "--estimator=mine", *(["--resume"] if command is train else [])]
        assert command.command([command.__name__, *arguments]) == 2
        assert "estimator" in capsys.readouterr().err
    assert not opened


def test_python_that_names_it_again_goes_on(workdir):
    estimators.named(PLACE)
    assert amarl_jax.load_policy(workdir).observation_size > 0
