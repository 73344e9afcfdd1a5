"""The posterior of z given the anonymous record, by writing out every way in which the record can have come about.

Plain Python in float64, derived from the market's code and from no other posterior: slow, and what a fast one is held
against. What happened in a step, given what is seen of it, is one of: the slot was silent; it acted and its position
limit left nothing of the order; it acted and row j of the step is its order. A *history* is one such choice per step.
All likelihoods are relative to the law in which every row is a noise trader's:

- count and times: n rows are noise with ``p(n) n! prod 1 / STEP``, or n - 1 are and one is the slot's with
  ``p(n - 1) (n - 1)! prod' 1 / STEP * f(t_j)``, p the bounded Poisson law, f the slot's law of arrival times;
- marks: the slot's law of side, lots, kind and offset over the noise traders' law of the same row;
- who leaves in bulk: orders of finite life leave with hazard ``1 / lifetime`` at the start of every step, whoever owns
  them; the slot's child leaves for certain where the slot acts.
"""

import dataclasses
import functools
import math
from dataclasses import dataclass

import numpy as np
import scipy.special

from amarl_jax.market.observe import ExecutionView, PublicView
from amarl_jax.market.params import STEP_MS

LEGENDRE = np.polynomial.legendre.leggauss(128)


@dataclass(frozen=True)
class Likelihoods:
    """After every step, in nats; ``[T]`` unless said. P_noise is the law in which every row is a noise trader's."""

    log_z0: np.ndarray  # log P(orders | z = 0) / P_noise(orders), given the public paths
    log_z_by_direction: np.ndarray  # [T, 2] the same at z = 1 for u = +1 and u = -1, averaged over the private number
    log_p_direction: np.ndarray  # [T, 2] log P(u | V[0..t])
    log_z1: np.ndarray  # log sum_u P(u | V) Z_u

    @property
    def log_ratio(self):
        """``log P(G_<=t | z = 1) / P(G_<=t | z = 0)``."""
        return self.log_z1 - self.log_z0

    def posterior(self, prior=0.5):
        """``P(z = 1 | G_<=t)``."""
        return scipy.special.expit(self.log_ratio + scipy.special.logit(prior))


def log_likelihoods(record, law, params, spec, privates=((0.0, 1.0),), merge=False):
    """The likelihoods of both classes at every prefix of a record, exact for the law and the private numbers given.

    Args:
        record: :class:`tests.information.anonymous_record.Record`.
        law: execution agent's view to the law of its decision, a dict with ``gate``; ``p_along`` or ``p_buy``;
            ``p_limit``; ``size_pmf`` [max_order_size] of 1, 2, ... lots; ``offset_pmf`` of the offsets from the
            smallest on. All of them are of the decision, before the position limit.
        params: market constants, as the market had them.
        spec: market sizes.
        privates: values of the private number with their probabilities: the truth alone, or a grid.
        merge: add up histories that agree in child and position, which changes nothing that follows; episodes of
            many steps are out of reach without it.
    """
    params = on_host(params)
    firing = {**noise_law(params, spec), "gate": params.slot_rate}

    def at_z0(view):
        return {**firing, "p_buy": _buy_probability(view, params)}

    log_z0 = _log_sums(record, at_z0, params, spec, 1, 0.0, merge)
    by_private = np.array(
        [[_log_sums(record, law, params, spec, u, private, merge) for u in (1, -1)] for private, _ in privates]
    )  # [privates, 2, T]
    weights = np.array([weight for _, weight in privates], float)
    by_direction = scipy.special.logsumexp(by_private, axis=0, b=weights[:, None, None] / weights.sum()).T
    log_p = np.array([log_direction([s.value for s in record.steps[: t + 1]], params) for t in range(len(log_z0))])
    return Likelihoods(log_z0, by_direction, log_p, scipy.special.logsumexp(by_direction + log_p, axis=1))


def on_host(params):
    """Every constant a Python number, of the value that the program computes with."""
    numbers = [f.name for f in dataclasses.fields(params) if f.name != "flow"]  # which is None, or arrays
    return dataclasses.replace(params, **{name: np.asarray(getattr(params, name)).item() for name in numbers})


def log_direction(values, params):
    """``log P(u | V[0..t])`` of u = +1 and u = -1, from the Ornstein-Uhlenbeck steps between the values given. [2]."""
    if float(params.value_volatility_ticks) <= 0.0:
        raise ValueError("value_volatility_ticks: must be positive, or one step of V tells its direction")
    now, following = np.array(values[:-1], float), np.array(values[1:], float)
    reversion, scale = float(params.value_reversion), float(params.value_volatility_ticks)
    log_lik = []
    for u in (1, -1):
        mean = now + reversion * (u * float(params.value_target_ticks) - now)
        log_lik.append(-0.5 * float(np.sum(((following - mean) / scale) ** 2)))
    return np.array(log_lik) - scipy.special.logsumexp(log_lik)


def noise_law(params, spec):
    """Marks of one noise order, but for the side: ``p_limit``, ``size_pmf``, ``offset_pmf``.

    Of a table the sizes are given the place, [1 + offsets, sizes].
    """
    n_offsets = spec.offset_max_ticks - spec.offset_min_ticks + 1
    if params.flow is not None:
        place, lots = (
            np.diff(np.asarray(x, float), prepend=0.0) for x in (params.flow.place_cdf, params.flow.lots_cdf)
        )
        return {"p_limit": 1.0 - place[0], "size_pmf": lots, "offset_pmf": place[1:] / (1.0 - place[0])}
    return {
        "p_limit": 1.0 - float(params.market_order_probability),
        "size_pmf": _noise_sizes(float(params.size_beta_a), float(params.size_beta_b), spec.max_order_size),
        "offset_pmf": np.full(n_offsets, 1.0 / n_offsets),
    }


def arrival_density(time_ms, params):
    """``STEP f(t)``: the slot's density of arrival times over the noise traders', who come uniformly in the step.

    The slot arrives at ``d + U (STEP - d)`` with ``d = min(latency + jitter X, STEP)``, X standard exponential, so
    ``f(t) = E[1(d <= t) / (STEP - d)]``: for t below STEP an integral over x up to ``(t - latency) / jitter``.
    """
    latency, jitter = float(params.latency_execution_ms), float(params.jitter_ms)
    if latency >= STEP_MS:
        raise ValueError(f"latency_execution_ms: must be below {STEP_MS}, or every order arrives at the step's end")
    if time_ms < latency:
        return 0.0
    if jitter == 0.0:
        return STEP_MS / (STEP_MS - latency)
    return _mean_over_jitter(min((time_ms - latency) / jitter, 60.0), latency, jitter)  # beyond 60 lies e^-60


@functools.cache
def _mean_over_jitter(reach, latency, jitter):
    nodes, weights = LEGENDRE
    x = 0.5 * reach * (nodes + 1.0)
    return float(0.5 * reach * np.sum(weights * np.exp(-x) * STEP_MS / (STEP_MS - latency - jitter * x)))


def count_factors(n_rows, params, spec):
    """What the number of rows says of a history in which none is the slot's, and of one in which row j is.

    Relative to ``p(n) n!``; where the noise traders cannot have sent as many, relative to ``p(n - 1) n!``: such a step
    tells that the slot acted, at either z.
    """
    p = _noise_counts(float(params.noise_rate), spec.max_noise_orders)
    if n_rows == 0:
        return 1.0, 0.0
    if n_rows > spec.max_noise_orders + 1:
        raise ValueError(f"{n_rows} rows in a step of at most {spec.max_noise_orders} noise orders and one of the slot")
    all_noise = p[n_rows] if n_rows <= spec.max_noise_orders else 0.0
    base = all_noise or p[n_rows - 1]
    return all_noise / base, p[n_rows - 1] / (n_rows * base)


@functools.cache
def _noise_sizes(a, b, largest):
    """``P(max(1, round(largest * Beta(a, b))) = k)``, k = 1 .. largest, each from the tail it loses nothing in.

    Of the ideal law. The program draws from a float32 cdf, which is 1 from some size on: larger ones never come.
    """
    edges = (np.arange(1, largest) + 0.5) / largest
    from_below = np.diff(scipy.special.betainc(a, b, edges), prepend=0.0, append=1.0)
    from_above = -np.diff(scipy.special.betaincc(a, b, edges), prepend=1.0, append=0.0)
    return np.where(np.arange(largest) < largest * a / (a + b), from_below, from_above)


@functools.cache
def _noise_counts(rate, bound):
    """``p(0) .. p(bound)`` of a Poisson count, what lies beyond the bound put on it."""
    exact = [math.exp(-rate) * rate**n / math.factorial(n) for n in range(bound)]
    return [*exact, float(scipy.special.gammainc(bound, rate))]


def execution_view(step, time, params, spec, direction, private, child, position):
    """What the execution agent sees at the start of a step, if the slot's child and position are those given."""
    mid = 0.5 * step.mid2
    done = direction * position
    order = next((order for order in step.resting if order.number == child), None)
    return ExecutionView(
        public=PublicView(
            depth=step.depth,
            time_left=np.float32(1.0) - np.float32(time) / np.float32(spec.horizon),
            mid=np.float32(mid),
            news_gap=np.float32(step.news) - np.float32(mid),
            spread=np.float32(step.spread),
        ),
        direction=np.int32(direction),
        remaining=np.int32(int(params.parent_lots) - done),
        completion=np.float32(done) / np.float32(int(params.parent_lots)),
        volatility=np.sqrt(np.float32(step.variance)),
        child_lots=np.int32(order.lots if order else 0),
        child_along=np.float32(order.side * direction if order else 0.0),
        child_offset=np.float32(order.side * (mid - order.price) if order else 0.0),
        private=np.float32(private if spec.private_randomiser else 0.0),
    )


def histories_after(step, time, child, position, law, params, spec, direction, private):
    """Every way on through one step, ``(choice, weight, child, position)``; choice is silent, cut, or a row's number.

    Args:
        step: what is seen.
        time: its number from 0.
        child: number of the slot's order at rest, None for none.
        position: lots of the slot.
        law: see :func:`log_likelihoods`.
        params: market constants.
        spec: market sizes.
        direction: u.
        private: the private number.
    """
    marks = law(execution_view(step, time, params, spec, direction, private, child, position))
    gate = float(marks["gate"])
    n_silent, n_row = count_factors(len(step.rows), params, spec)
    side_of = {order.number: order.side for order in (*step.resting, *step.rows)}

    def then(order):
        """The slot's child and position if this is its order while the step is played."""
        if order is None:
            return None, position
        after = position + side_of[order] * step.traded.get(order, 0)
        return (order if order in step.rest_after else None), after

    ways = [("silent", (1.0 - gate) * n_silent, *then(None if child in step.left else child))]
    hazard = 1.0 / max(float(params.lifetime_steps), 1.0)
    acts = gate * (1.0 if child is None else 1.0 / hazard if child in step.left else 0.0)
    room = {side: max(int(params.parent_lots) - side * position, 0) for side in (1, -1)}
    p_buy = float(marks["p_buy"]) if "p_buy" in marks else _of_buying(float(marks["p_along"]), direction)
    p_cut = sum(p for side, p in ((1, p_buy), (-1, 1.0 - p_buy)) if room[side] == 0)
    ways.append(("cut", acts * p_cut * n_silent, None, position))
    noise = noise_law(params, spec)
    for row in step.rows:
        p_noise_buys = _tilted(step.news, step.mid2, params)
        of_noise = _p_marks(row, step.mid2, noise, p_noise_buys, spec.max_order_size, spec)
        if of_noise == 0.0:
            raise ValueError(f"{row}: no noise trader sends it, so there is no law to be relative to")
        of_slot = _p_marks(row, step.mid2, marks, p_buy, room[row.side], spec)
        weight = acts * n_row * arrival_density(row.time_ms, params) * of_slot / of_noise
        ways.append((row.number, weight, *then(row.number)))
    return ways


def _log_sums(record, law, params, spec, direction, private, merge):
    """Log of the sum over histories of their weights, at every prefix. [T]."""
    histories, scale, log_sums = [(1.0, None, 0)], 0.0, []
    for time, step in enumerate(record.steps):
        ways = {}
        longer = []
        for weight, child, position in histories:
            if (child, position) not in ways:
                ways[child, position] = histories_after(
                    step, time, child, position, law, params, spec, direction, private
                )
            longer.extend((weight * w, c, x) for _, w, c, x in ways[child, position] if w > 0.0)
        total = math.fsum(weight for weight, _, _ in longer)
        if total == 0.0:
            return np.array(log_sums + [-math.inf] * (len(record.steps) - time))
        scale += math.log(total)
        log_sums.append(scale)
        histories = [(weight / total, child, position) for weight, child, position in longer]
        histories = _merged(histories) if merge else histories
    return np.array(log_sums)


def _merged(histories):
    sums = {}
    for weight, child, position in histories:
        sums[child, position] = sums.get((child, position), 0.0) + weight
    return [(weight, *state) for state, weight in sums.items()]


def _p_marks(row, mid2, marks, p_buy, room, spec):
    """Probability of a row's side, lots, kind and price, if its sender has ``room`` lots left on that side."""
    p = p_buy if row.side > 0 else 1.0 - p_buy
    sizes = np.asarray(marks["size_pmf"], float)
    if row.lots > room:
        return 0.0
    centre = mid2 // 2 if row.side > 0 else -(-mid2 // 2)
    offset = 0 if row.price is None else row.side * (centre - row.price) - spec.offset_min_ticks
    if sizes.ndim == 2:
        sizes = sizes[0 if row.price is None else 1 + offset]
    p *= sizes[row.lots - 1 :].sum() if row.lots == room else sizes[row.lots - 1]
    if row.price is None:
        return p * (1.0 - float(marks["p_limit"]))
    return p * float(marks["p_limit"]) * float(marks["offset_pmf"][offset])


def _of_buying(p_along, direction):
    return p_along if direction > 0 else 1.0 - p_along


def _tilted(news, mid2, params):
    tilt = float(params.tilt_per_tick) * (news - 0.5 * mid2)
    return 0.5 + min(max(tilt, -float(params.tilt_max)), float(params.tilt_max))


def _buy_probability(view, params):
    """Of a noise trader, from what everyone sees."""
    return _tilted(float(view.public.news_gap) + float(view.public.mid), round(2 * float(view.public.mid)), params)
