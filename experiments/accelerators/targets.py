"""Devices that need not be there: what is installed, what the environment says, and how their compiler is asked."""

import dataclasses
import os


@dataclasses.dataclass(frozen=True)
class Target:
    """One kind of device."""

    platform: str  # as JAX lowers for it
    wheels: tuple[str, ...]  # beside those of this package
    environment: dict[str, str] = dataclasses.field(hash=False)  # of the process that compiles
    flags: str = ""  # of XLA


H100 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84978434048
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  cuda_compute_capability { major: 9 }
  driver_version: "12.8.0"
  runtime_version: "12.8.0"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""  # without the versions XLA leaves products of cuBLAS out of CUDA graphs

TARGETS = {
    "h100": Target(
        "cuda",
        ("jax-cuda12-plugin=={jax}", "jax-cuda12-pjrt=={jax}"),
        {"JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1", "JAX_PLATFORMS": "cpu"},
        # there is no autotuner without a device, and the default tiles of Triton fit not every product
        "--xla_gpu_enable_triton_gemm=false",
    ),
    "v5e": Target(
        "tpu",
        ("jax[tpu]=={jax}",),
        {
            "JAX_PLATFORMS": "cpu",
            "TPU_SKIP_MDS_QUERY": "1",
            "TPU_ACCELERATOR_TYPE": "v5litepod-4",
            "TPU_WORKER_HOSTNAMES": "localhost",
            "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        },
    ),
}


def devices(name, n_devices):
    """Devices of a target to compile for, in a process that has its environment."""
    from jax.experimental import topologies

    if name == "h100":
        described = topologies.get_topology_desc(platform="cuda", target_config=H100, topology=f"1x1x{n_devices}")
    else:
        described = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    return tuple(described.devices)[:n_devices]


def environment(name, dump):
    """Variables of the process that compiles for a target and leaves XLA's account of it in the folder ``dump``."""
    target = TARGETS[name]
    kept = f"--xla_dump_to={dump} --xla_dump_hlo_as_text --xla_dump_hlo_module_re=jit_(play|advance|attend).*"
    flags = f"{target.flags} {kept}" if target.platform == "cuda" else target.flags
    plain = {key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")}
    return plain | target.environment | {"XLA_FLAGS": flags.strip(), "JAX_ENABLE_COMPILATION_CACHE": "false"}
