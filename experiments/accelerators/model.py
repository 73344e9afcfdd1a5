"""What a program would take on a card, on paper: an estimate, whose constants are assumed until run.sh measures some.

Launching and moving are simply added, which is pessimistic: the two overlap.
"""

CONSTANTS = {  # of an H100; nobody measured them here
    "fast": {"node_us": 1.2, "graph_us": 4.5, "bare_us": 2.2},
    "middle": {"node_us": 2.0, "graph_us": 6.0, "bare_us": 3.5},
    "slow": {"node_us": 3.0, "graph_us": 9.0, "bare_us": 5.0},
}
BYTES_PER_S = 2.7e12  # of memory, as much as kernels of this kind get
FLOPS_PER_S = {"float32": 45e12, "tensorfloat32": 200e12}


def seconds(row, case="middle", precision="float32"):
    """Estimated seconds of one run of a compiled program, by what takes them, on each of its devices."""
    us, parts = CONSTANTS[case], row["parts"].values()
    launches = [("node_us", "nodes"), ("graph_us", "graphs"), ("bare_us", "bare")]
    return {
        "launches": 1e-6 * sum(us[cost] * part[kind] for part in parts for cost, kind in launches),
        "memory": sum(part["bytes"] for part in parts) / BYTES_PER_S,
        "products": row["flops"] / FLOPS_PER_S[precision],  # of one device, as launches and bytes are
    }


def seconds_of_lanes(row, n_lanes, case="middle"):
    """Estimated seconds of one run of ``n_lanes`` of a program side by side on a device: launches are shared."""
    spent = seconds(row, case)
    return spent["launches"] + n_lanes * (spent["memory"] + spent["products"])


def steps_per_second(row, case="middle", precision="float32"):
    """Estimated environment steps per second of all devices."""
    return row["env_steps"] / sum(seconds(row, case, precision).values())
