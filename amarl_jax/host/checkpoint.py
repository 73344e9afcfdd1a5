"""Saving and restoring whole training states, through Orbax."""

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
from absl import logging

from amarl_jax.errors import BadInput, CheckpointMismatch
from amarl_jax.host import checkpoint_record
from amarl_jax.host import processes as hosts
from amarl_jax.host.checkpoint_record import Record, Training
from amarl_jax.host.preemption import undisturbed
from amarl_jax.types import PyTree

_UNFINISHED = "*.orbax-checkpoint-tmp*"  # what Orbax names a checkpoint until it is complete
_OS_ERROR = re.compile(r"os_error_code='(\d+)'")  # in the text of a ValueError that tensorstore raises


class Checkpointer:
    """Training states under one folder: the latest two, and the best by a metric if one is named.

    States may hold typed random keys. ``best`` is a key of the ``metrics`` given to :meth:`save`, smaller is better
    unless ``maximise``. The newest checkpoint is never the one that is deleted. A checkpoint is written under another
    name and renamed when it is complete: what a killed process leaves is never restored, and the next save deletes it.
    Each has a :class:`amarl_jax.host.checkpoint_record.Record`, by which damage is found; an older one that is damaged
    is skipped, with a line that says so.

    Raises :class:`BadInput` where the folder holds something other than checkpoints.
    """

    def __init__(self, folder: str | Path, best: str | None = None, maximise: bool = False) -> None:
        import orbax.checkpoint as ocp  # takes a third of a second

        self._folder = Path(folder).absolute()
        self._best, self._sign = best, 1.0 if maximise else -1.0
        self._records: dict[int, Record] = {}
        self._args = ocp.args
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_Preserved(self._kept),
            lightweight_initialize=True,  # the records, some of which may be damaged, are read below one by one
            enable_async_checkpointing=False,
            create=False,  # a reader creates no folder
        )
        with self._guarded("the folder"):
            self._manager = ocp.CheckpointManager(
                self._folder, item_handlers=ocp.StandardCheckpointHandler(), options=options
            )
            steps = self.all_steps()
        for step in steps:
            try:
                self._records[step] = checkpoint_record.read(self._folder / str(step), step)
            except BadInput as error:
                if step != steps[-1] and (self._folder / str(step)).exists():
                    hosts.say(f"warning: {error}; checkpoint {step} is passed over")

    def save(
        self,
        step: int,
        state: PyTree,
        metrics: Mapping[str, float] | None = None,
        training: Training | None = None,
    ) -> None:
        """Write ``state`` as checkpoint ``step``, with ``training``, what it was trained with, in its record.

        Raises ``FileExistsError`` for a step that exists already, ``OSError`` where the disk is full or cannot be
        written; the checkpoints before it stay as they were.
        """
        if step in self.all_steps():
            raise FileExistsError(f"checkpoint {step} exists already in {self._folder}")
        numbers = {name: float(value) for name, value in (metrics or {}).items()}
        plain = _without_keys(state)
        record = Record(step, checkpoint_record.hash_of(plain), numbers, training)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        self._records[step] = record
        saved = False
        try:
            with self._guarded(f"checkpoint {step}", "written"):
                saved = self._manager.save(
                    step, args=self._args.StandardSave(plain), custom_metadata=record.as_metadata()
                )
                self._manager.wait_until_finished()
        except BaseException:
            self._sweep()
            raise
        finally:
            if not saved:
                self._records.pop(step, None)
        if not saved:
            raise FileExistsError(f"checkpoint {step} was not written to {self._folder}: a later one exists")

    def _sweep(self) -> None:
        """Delete what an interrupted save left; only a writer may, as a reader cannot know who is writing."""
        if jax.process_index() == 0:
            for unfinished in self._folder.glob(_UNFINISHED):
                shutil.rmtree(unfinished, ignore_errors=True)

    def restore(self, like: PyTree, step: int | None = None) -> PyTree:
        """The state saved at ``step`` (default: the latest), shaped as ``like``.

        ``like`` is a state or, cheaper, ``jax.eval_shape`` of what makes one. Its leaves' shardings are kept where
        they have one, else everything goes to the default device. Raises :class:`CheckpointMismatch` where shapes
        or names differ, :class:`BadInput` where the files are damaged, ``FileNotFoundError`` where there is none.
        """
        step = self.latest_step() if step is None else step
        if step is None:
            raise FileNotFoundError(f"no checkpoint in {self._manager.directory}")
        record = self.record(step)
        checkpoint_record.refuse_oversized(self._folder / str(step))
        target = jax.tree.map(_abstract_leaf, like)
        try:
            with _quiet():
                metadata = self._manager.item_metadata(step)
                _require_equal_shapes(_shapes(metadata), _shapes(target), f"checkpoint {step}")
                raw = self._manager.restore(step, args=self._args.StandardRestore(target))
        except (BadInput, MemoryError):
            raise
        except Exception as error:  # damage can raise almost anything
            raise BadInput(f"checkpoint {step} in {self._folder} cannot be read ({_reason(error)})") from error
        if checkpoint_record.hash_of(raw) != record.arrays:
            raise BadInput(f"checkpoint {step} in {self._folder} is damaged: its arrays are not those that were saved")
        return jax.tree.map(lambda x, leaf: jax.random.wrap_key_data(x) if _is_key(leaf) else x, raw, like)

    def record(self, step: int) -> Record:
        """The record of checkpoint ``step``; raises :class:`BadInput` where it cannot be read."""
        if step in self._records:
            return self._records[step]
        try:
            return checkpoint_record.read(self._folder / str(step), step)
        except BadInput as error:
            sound = max((other for other in self._records if other < step), default=None)
            instead = "" if sound is None else f"; without it the run goes on from update {sound}"
            raise BadInput(f"{error}{instead}") from None

    def latest_step(self) -> int | None:
        """The newest checkpoint, None if there is none."""
        return max(self.all_steps(), default=None)

    def best_step(self) -> int | None:
        """The checkpoint with the best metric, None if none has it; needs a folder opened with ``best``."""
        if self._best is None:
            raise ValueError("opened without a metric to choose by")
        return self._best_of(self.all_steps())

    def all_steps(self) -> list[int]:
        """Every checkpoint that is kept, ascending."""
        return sorted(self._manager.all_steps())

    def _best_of(self, steps: Iterable[int]) -> int | None:
        """The best of some steps, the latest among equals."""
        quality = {step: self._records[step].metrics.get(str(self._best)) for step in steps if step in self._records}
        known = [(self._sign * value, step) for step, value in quality.items() if value is not None]
        return max(known)[1] if known else None

    def _kept(self, steps: list[int]) -> set[int]:
        """Select the latest two and the best of ascending steps."""
        best = self._best_of(steps)
        return {*steps[-2:], *([] if best is None else [best])}

    @contextlib.contextmanager
    def _guarded(self, what: str, done: str = "read") -> Iterator[None]:
        """Turn whatever Orbax raises into an error of the machine or a :class:`BadInput`."""
        try:
            with _quiet():
                yield
        except (BadInput, MemoryError, OSError):
            raise
        except Exception as error:
            if isinstance(found := _as_os_error(error, self._folder), OSError):
                raise found from None
            raise BadInput(f"{what} in {self._folder} cannot be {done} ({_reason(error)})") from error

    def close(self) -> None:
        """Finish writing and release the folder."""
        self._manager.close()

    def __enter__(self) -> "Checkpointer":
        """Return the checkpointer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


class _Preserved:
    """Orbax's policy of which checkpoints to keep, by their steps alone."""

    def __init__(self, kept: Callable[[list[int]], set[int]]) -> None:
        self._kept = kept

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """True for each checkpoint to keep."""
        kept = self._kept(sorted(checkpoint.step for checkpoint in checkpoints))
        return [checkpoint.step in kept for checkpoint in checkpoints]


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the tracebacks that Orbax logs of what it raises anyway, and hold back signals meanwhile."""
    verbosity, hook = logging.get_verbosity(), sys.unraisablehook
    logging.set_verbosity(logging.FATAL)
    _drop_orbax_reports()
    try:
        with undisturbed():
            yield
    finally:
        logging.set_verbosity(verbosity)
    sys.unraisablehook = hook  # after a failure it stays: pending writes report later, to a closed event loop


def _drop_orbax_reports() -> None:
    """Make ``sys.unraisablehook`` ignore pending writes that find their event loop closed; wraps it only once."""
    if not isinstance(sys.unraisablehook, _WithoutOrbaxReports):
        sys.unraisablehook = _WithoutOrbaxReports(sys.unraisablehook)


class _WithoutOrbaxReports:
    """An unraisable hook that calls the previous one for everything but "Event loop is closed"."""

    def __init__(self, hook: Callable[[Any], Any]) -> None:
        self._hook = hook

    def __call__(self, unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            self._hook(unraisable)


def _as_os_error(error: Exception, folder: Path) -> Exception:
    """The ``OSError`` inside what tensorstore raises, so that a full disk is reported alike everywhere."""
    found = _OS_ERROR.search(str(error))
    return OSError(int(found[1]), os.strerror(int(found[1])), str(folder)) if found else error


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_keys(state: PyTree) -> PyTree:
    """The state with keys as plain data; as NumPy arrays with several processes, as Orbax saves no local JAX array."""
    plain = jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, state)
    return jax.tree.map(np.asarray, plain) if hosts.several() else plain


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


def require_equal_shapes(saved: PyTree, wanted: PyTree, where: str) -> None:
    """Raise :class:`CheckpointMismatch`, naming every leaf that differs, unless two trees hold arrays of equal kind."""
    _require_equal_shapes(_shapes(saved), _shapes(wanted), where)


def _require_equal_shapes(saved: Mapping[str, str], wanted: Mapping[str, str], where: str) -> None:
    names = sorted(saved.keys() | wanted.keys())
    differing = [
        f"{name} ({saved.get(name, 'absent')} saved, {wanted.get(name, 'absent')} here)"
        for name in names
        if saved.get(name) != wanted.get(name)
    ]
    if differing:
        raise CheckpointMismatch(f"{where} does not fit in {len(differing)} arrays: " + "; ".join(differing))
