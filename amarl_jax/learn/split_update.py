"""The updates of one run, compiled for one device or for several that share its environments."""

import dataclasses
import functools

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from amarl_jax.learn.cost import abstract_state
from amarl_jax.learn.hypers import LearnSpec
from amarl_jax.learn.metrics import Metrics
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.split import AXIS
from amarl_jax.learn.state import TrainState
from amarl_jax.learn.update import advance, update


def why_not_split(learn: LearnSpec, n_devices: int) -> tuple[str, int, str] | None:
    """Size that keeps ``n_devices`` from sharing an update: field, value and what is allowed; None where none does."""
    parts = n_devices * learn.n_minibatches
    if learn.n_envs % parts:
        what = "n_devices times n_minibatches, as every device has its own part of every minibatch"
        return "n_envs", learn.n_envs, f"a multiple of {n_devices} x {learn.n_minibatches} = {parts}, {what}"
    if learn.replay_capacity % n_devices:
        return "replay_capacity", learn.replay_capacity, f"a multiple of n_devices = {n_devices}, which have one each"
    return None


def split_over(setup: Setup, n_devices: int) -> Setup:
    """The setup of an update that ``n_devices`` compute together; raises ValueError where its sizes do not divide."""
    learn = setup.game.learn
    if (refused := why_not_split(learn, n_devices)) is not None:
        raise ValueError("{} = {}: must be {}".format(*refused))
    learn = dataclasses.replace(learn, n_devices=n_devices)
    return setup.replace(game=dataclasses.replace(setup.game, learn=learn))


def part_of(setup: Setup, n_devices: int) -> Setup:
    """The setup of one device's part of an update, as if it trained alone: its environments and its replay."""
    learn = split_over(setup, n_devices).game.learn
    n_envs, capacity = learn.n_envs // n_devices, learn.replay_capacity // n_devices
    drawn = -(-learn.replay_batch // n_devices)
    learn = dataclasses.replace(learn, n_devices=1, n_envs=n_envs, replay_capacity=capacity, replay_batch=drawn)
    return setup.replace(game=dataclasses.replace(setup.game, learn=learn))


@functools.partial(jax.jit, static_argnames=("n_updates", "devices"), donate_argnames=("state",))
def advance_split(
    state: TrainState, setup: Setup, n_updates: int, devices: tuple[jax.Device, ...]
) -> tuple[TrainState, Metrics]:
    """``n_updates`` updates on several devices, each of which holds its part of the environments and of the replay.

    Gradients, and the sums that normalise, are summed over the devices; see :class:`amarl_jax.learn.split.EnvSplit`.

    Args:
        state: the learner, placed by :meth:`Updates.place`; it is consumed.
        setup: from :func:`split_over`.
        n_updates: of one scan.
        devices: as many as the setup is split over.
    """

    def on_one(state: TrainState, setup: Setup) -> tuple[TrainState, Metrics]:
        return jax.lax.scan(lambda carry, _: update(carry, setup), state, None, length=n_updates)

    specs, same = _specs(state), PartitionSpec()
    mapped = jax.shard_map(
        on_one, mesh=_mesh(devices), in_specs=(specs, same), out_specs=(specs, same), check_vma=False
    )
    return mapped(state, setup)


@dataclasses.dataclass(frozen=True)
class Updates:
    """The compiled updates of a run. One device has the program of :func:`amarl_jax.learn.update.advance`."""

    setup: Setup  # as for one device
    devices: tuple[jax.Device, ...]

    def __call__(self, state: TrainState, n_updates: int) -> tuple[TrainState, Metrics]:
        """The learner after ``n_updates`` updates, which consume the one given, and metrics, [n_updates]."""
        if len(self.devices) == 1:
            return advance(state, self.setup, n_updates)
        return advance_split(state, split_over(self.setup, len(self.devices)), n_updates, self.devices)

    def compile(self, n_updates: int) -> None:
        """Compile the program of so many updates from shapes; a later call finds it in JAX's cache."""
        shapes = abstract_state(self.setup)
        state = jax.tree.map(
            lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes, self._places(shapes)
        )
        if len(self.devices) == 1:
            advance.lower(state, self.setup, n_updates).compile()
        else:
            advance_split.lower(state, split_over(self.setup, len(self.devices)), n_updates, self.devices).compile()

    def place(self, state: TrainState) -> TrainState:
        """The learner where the program takes it: its replay in parts on the devices, all else on each of them."""
        return jax.device_put(state, self._places(state))

    def whole(self, state: TrainState) -> TrainState:
        """The learner on the first device, for files and for programs of one device."""
        return state if len(self.devices) == 1 else jax.device_put(state, SingleDeviceSharding(self.devices[0]))

    def _places(self, state: TrainState) -> TrainState:
        """The sharding of each leaf."""
        if len(self.devices) == 1:
            return jax.tree.map(lambda _: SingleDeviceSharding(self.devices[0]), state)
        mesh = _mesh(self.devices)
        is_spec = lambda x: isinstance(x, PartitionSpec)  # noqa: E731
        return jax.tree.map(lambda spec: NamedSharding(mesh, spec), _specs(state), is_leaf=is_spec)


def _mesh(devices: tuple[jax.Device, ...]) -> Mesh:
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def _specs(state: TrainState) -> TrainState:
    """What is split over the devices, leaf by leaf: the rows of the replay, whose rings fill alike, and no other."""
    same, parts = PartitionSpec(), PartitionSpec(AXIS)
    specs: TrainState = jax.tree.map(lambda _: same, state)
    storage = jax.tree.map(lambda _: parts, state.replay.storage)
    return specs.replace(replay=specs.replay.replace(storage=storage, priority=parts))
