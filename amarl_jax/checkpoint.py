"""Saving and restoring: whole training states through Orbax, one agent's parameters as a plain ``.npz`` file."""

import io
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers

from amarl_jax.errors import CheckpointMismatch
from amarl_jax.types import PyTree
from amarl_jax.workdir import write_atomically


class Checkpointer:
    """Training states under one folder: the latest two, and the best by a metric if one is named.

    States may hold typed random keys. ``best`` is a key of the ``metrics`` given to :meth:`save`, smaller is better
    unless ``maximise``. The newest checkpoint is never the one that is deleted.
    """

    def __init__(self, folder: str | Path, best: str | None = None, maximise: bool = False) -> None:
        policies: list[Any] = [managers.LatestN(2)]
        if best is not None:
            policies.append(_best_policy(best, maximise))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=managers.AnyPreservationPolicy(policies), enable_async_checkpointing=False
        )
        handler = ocp.StandardCheckpointHandler()
        self._manager = ocp.CheckpointManager(Path(folder).absolute(), item_handlers=handler, options=options)

    def save(self, step: int, state: PyTree, metrics: Mapping[str, float] | None = None) -> None:
        """Write ``state`` as checkpoint ``step``; a step that exists already is an error, not a silent no-op."""
        numbers = None if metrics is None else {name: float(value) for name, value in metrics.items()}
        saved = self._manager.save(step, args=ocp.args.StandardSave(_without_keys(state)), metrics=numbers)
        if not saved:
            raise FileExistsError(f"checkpoint {step} was not written: it exists, or a later one does")
        self._manager.wait_until_finished()

    def restore(self, like: PyTree, step: int | None = None) -> PyTree:
        """The state saved at ``step`` (default: the latest), shaped as ``like``.

        ``like`` is a state or, cheaper, ``jax.eval_shape`` of what makes one. Its leaves' shardings are kept where
        they have one, else everything goes to the default device. Raises :class:`CheckpointMismatch` where shapes
        or names differ, ``FileNotFoundError`` where there is no checkpoint.
        """
        step = self.latest_step() if step is None else step
        if step is None:
            raise FileNotFoundError(f"no checkpoint in {self._manager.directory}")
        target = jax.tree.map(_abstract_leaf, like)
        metadata = self._manager.item_metadata(step)
        _require_equal_shapes(_shapes(metadata), _shapes(target), f"checkpoint {step}")
        raw = self._manager.restore(step, args=ocp.args.StandardRestore(target))
        return jax.tree.map(lambda x, leaf: jax.random.wrap_key_data(x) if _is_key(leaf) else x, raw, like)

    def latest_step(self) -> int | None:
        """The newest checkpoint, None if there is none."""
        return self._manager.latest_step()

    def all_steps(self) -> list[int]:
        """Every checkpoint that is kept, ascending."""
        return sorted(self._manager.all_steps())

    def close(self) -> None:
        """Finish writing and let go of the folder."""
        self._manager.close()

    def __enter__(self) -> "Checkpointer":
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def save_agent(path: str | Path, params: PyTree) -> None:
    """Write one agent's parameters as an ``.npz`` file, one array per leaf under its slash-separated name."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **{name: np.asarray(leaf) for name, leaf in _named_leaves(params)})
    write_atomically(Path(path), content.getvalue())


def load_agent(path: str | Path, like: PyTree) -> PyTree:
    """Parameters written by :func:`save_agent`, in the structure of ``like`` (parameters or their ``eval_shape``).

    Raises :class:`CheckpointMismatch`, naming every leaf that is missing, unexpected or of another shape or dtype.
    """
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    _require_equal_shapes({name: _shape(x) for name, x in arrays.items()}, _shapes(like), str(path))
    leaves = [jax.numpy.asarray(arrays[name]) for name, _ in _named_leaves(like)]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _best_policy(metric: str, maximise: bool) -> Any:
    """Keep the best one; checkpoints without the metric are left to the other policies."""
    return managers.BestN(
        get_metric_fn=lambda metrics: metrics[metric] if maximise else -metrics[metric],
        n=1,
        keep_checkpoints_without_metrics=False,
    )


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_keys(state: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, state)


def _abstract_leaf(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape, dtype and an explicit sharding; without one, another number of devices cannot read the checkpoint."""
    plain = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    sharding = None if _is_key(leaf) else getattr(leaf, "sharding", None)
    if sharding is None:
        sharding = jax.sharding.SingleDeviceSharding(jax.numpy.zeros(()).devices().pop())
    return jax.ShapeDtypeStruct(plain.shape, plain.dtype, sharding=sharding)


def _named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    with_paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in with_paths]


def _shape(leaf: Any) -> str:
    return f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"


def _shapes(tree: PyTree) -> dict[str, str]:
    return {name: _shape(leaf) for name, leaf in _named_leaves(tree)}


def _require_equal_shapes(saved: Mapping[str, str], wanted: Mapping[str, str], where: str) -> None:
    names = sorted(saved.keys() | wanted.keys())
    differing = [
        f"{name} ({saved.get(name, 'absent')} saved, {wanted.get(name, 'absent')} here)"
        for name in names
        if saved.get(name) != wanted.get(name)
    ]
    if differing:
        raise CheckpointMismatch(f"{where} does not fit: " + "; ".join(differing))
