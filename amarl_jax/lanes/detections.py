"""Fresh detectors for many sets of episodes at once: one compiled program, mapped over the sets and over devices.

A set is a lane's episodes with its labels, or with shuffled ones. Each detector is the one that
:func:`amarl_jax.evaluation.metrics.fresh_detection` would have trained with the same key.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from amarl_jax.evaluation import metrics
from amarl_jax.evaluation.episodes import EpisodeSummary
from amarl_jax.information.detector import Detection, check_below_entropy, summarise
from amarl_jax.information.tape_detector import (
    COMPILED_WELL,
    TapeDetectorSpec,
    TapePlan,
    held_out_log_ratios,
    plan_tapes,
)
from amarl_jax.lanes.layout import Layout, over_lanes
from amarl_jax.types import Array, Tape

TOGETHER = 8  # detectors that an accelerator trains at once; on a processor one after the other is faster


def detect_each(
    keys: Sequence[Array], summaries: Sequence[EpisodeSummary], priors: Sequence[float], devices: Sequence[jax.Device]
) -> Iterator[Detection]:
    """A detection per set, host arrays, yielded in order as their groups are done.

    Args:
        keys: typed keys, one for each set.
        summaries: equally many episodes in each set, host arrays.
        priors: p_z of each set.
        devices: of all processes; those of this one are used.
    """
    own = [device for device in devices if device.process_index == jax.process_index()]
    at_once = 1 if own[0].platform == "cpu" else TOGETHER
    rounds = max(1, -(-len(summaries) // (len(own) * at_once)))
    own = own[: max(1, -(-len(summaries) // (rounds * at_once)))]  # fewest devices for these rounds: least padding
    group = Layout(len(own) * at_once, tuple(own), at_once)
    for start in range(0, len(summaries), group.n_lanes):
        part = slice(start, start + group.n_lanes)
        yield from _detect_group(keys[part], summaries[part], priors[part], group)


def _detect_group(
    keys: Sequence[Array], summaries: Sequence[EpisodeSummary], priors: Sequence[float], group: Layout
) -> list[Detection]:
    """Detections of sets that are trained together; fewer sets than the group holds are padded to use one program."""
    spec = metrics.DETECTOR
    sets = [_one_set(key, rows, prior, spec) for key, rows, prior in zip(keys, summaries, priors, strict=True)]
    here = Layout(len(sets), group.devices, group.at_once)
    placed = here.place(jax.tree.map(lambda *leaves: np.stack(leaves), *sets))
    together = here.take_back(_cross_fit_sets(placed, group, spec))
    detections = [jax.tree.map(lambda leaf, i=i: leaf[i], together) for i in range(len(sets))]
    for detection, prior in zip(detections, priors, strict=True):
        check_below_entropy(float(detection.mi), float(detection.mi_stderr), prior)
    return detections


def _one_set(key: Array, rows: EpisodeSummary, prior: float, spec: TapeDetectorSpec) -> tuple[Any, ...]:
    """Inputs of one detector's training, drawn on the host."""
    z = np.asarray(rows.z, np.int32)
    horizon, n_rows = rows.tape.side.shape[1:]
    return plan_tapes(key, z, horizon, n_rows, spec), rows.tape, z, np.float32(prior)


@functools.partial(jax.jit, static_argnames=("group", "spec"), compiler_options=COMPILED_WELL)
def _cross_fit_sets(sets: tuple[Any, ...], group: Layout, spec: TapeDetectorSpec) -> Detection:
    """Cross-fitted and summarised detections, [n_padded]."""

    def one(design: TapePlan, tapes: Tape, z: Array, prior: Array) -> Detection:
        return summarise(held_out_log_ratios(design, tapes, z, prior, spec), z, prior)

    return over_lanes(one, group)(*sets)
