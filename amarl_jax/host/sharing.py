"""Devices that share the environments of one run."""

import jax

from amarl_jax.config import Experiment
from amarl_jax.errors import ConfigError
from amarl_jax.host import machine
from amarl_jax.host.workdir import Run
from amarl_jax.learn.split_update import why_not_split


def check_split(experiment: Experiment, n_devices: int | None) -> None:
    """Raise :class:`BadInput` where there are not so many devices, or an update's sizes do not divide over them."""
    n = len(machine.find_devices(experiment.run.device, n_devices)) if n_devices is not None else 1
    if (refused := why_not_split(experiment.learn_spec, n)) is not None:
        field, value, allowed = refused
        raise ConfigError(f"training.{field}", value, allowed)


def devices_sharing(run: Run) -> tuple[jax.Device, ...]:
    """The devices that share the environments of a run: the one that JAX computes on, unless more were asked for."""
    if run.n_devices is None or run.n_devices == 1:
        return tuple(jax.numpy.zeros(()).devices())
    return machine.find_devices(run.experiment.run.device, run.n_devices)
