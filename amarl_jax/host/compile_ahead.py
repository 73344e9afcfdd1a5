"""Compilation of programs in another thread while the caller does something else, from the shapes of their arguments.

A later call finds its program in JAX's cache, and compiles as usual where it does not: no result depends on this.
"""

import contextlib
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import jax
import jax.experimental

from amarl_jax.types import PyTree

_NAME = "compile ahead"  # of the threads
_X64_HOME: Any = jax if hasattr(jax, "enable_x64") else jax.experimental  # the latter before jax 0.8
_CONTEXTS: dict[str, Callable[[Any], contextlib.AbstractContextManager[Any]]] = {  # that JAX tells programs apart by
    "jax_default_matmul_precision": jax.default_matmul_precision,
    "jax_default_device": jax.default_device,
    "jax_enable_x64": _X64_HOME.enable_x64,
    "jax_debug_key_reuse": jax.debug_key_reuse,
    "jax_numpy_rank_promotion": jax.numpy_rank_promotion,
    "jax_numpy_dtype_promotion": jax.numpy_dtype_promotion,
    "jax_default_prng_impl": jax.default_prng_impl,
    "jax_threefry_partitionable": jax.threefry_partitionable,
}


def at_work() -> bool:
    """True if a compiling thread is running, perhaps for a program that is no longer needed."""
    return any(thread.name == _NAME for thread in threading.enumerate())


class CompileAhead:
    """A thread that works through jobs, each of which compiles a program, once :meth:`start` has been called.

    An exception ends it silently: the caller of the program gets the same one, where it can be reported. Leaving the
    context with an error drops the remaining jobs and does not wait.
    """

    def __init__(self, jobs: Sequence[Callable[[], Any]]) -> None:
        self._jobs = jobs
        self._dropped, self._done = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; a second call does nothing."""
        if self._thread is None:
            settings = {name: getattr(jax.config, name) for name in _CONTEXTS}
            self._thread = threading.Thread(target=self._work, args=(settings,), name=_NAME)
            self._thread.start()

    @property
    def busy(self) -> bool:
        """True if jobs are under way."""
        return self._thread is not None and not self._done.is_set()

    def wait(self) -> None:
        """Block until every job is done; return at once if none was started. A signal may interrupt it.

        Waits for an event instead of joining: Python takes a thread whose join was interrupted for ended, and crashes
        when it ends.
        """
        if self._thread is not None:
            self._done.wait()

    def _work(self, settings: dict[str, Any]) -> None:
        """Run the jobs under the JAX settings of the starting thread, since context settings are thread-local."""
        try:
            with contextlib.ExitStack() as contexts:
                for name, value in settings.items():
                    contexts.enter_context(_CONTEXTS[name](value))
                for job in self._jobs:
                    if self._dropped.is_set():
                        return
                    job()
        except Exception:
            return
        finally:
            self._done.set()

    def __enter__(self) -> "CompileAhead":
        """Return itself; nothing is started."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the jobs, or drop the remaining ones after an error."""
        if error is None:
            self.wait()
        else:
            self._dropped.set()


def like(tree: PyTree) -> PyTree:
    """Abstract arrays with all that JAX distinguishes programs by: shape, dtype, and the device of a bound array."""
    return jax.tree.map(_like, tree)


def _like(leaf: Any) -> Any:
    sharding = leaf.sharding if getattr(leaf, "committed", False) else None
    weak = bool(getattr(leaf, "weak_type", False))
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding, weak_type=weak)
