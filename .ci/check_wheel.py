"""Check what a wheel holds: python .ci/check_wheel.py WHEEL. Prints what is wrong, and exits with 1."""

import re
import sys
import zipfile

with zipfile.ZipFile(sys.argv[1]) as wheel:
    names = wheel.namelist()
    (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    links = re.findall(r"\]\(([^)\s]*)", wheel.read(metadata).decode())

needed = ("amarl_jax/py.typed", "amarl_jax/configs/lambda_sweep.py")
wrong = [f"no {name}" for name in needed if name not in names]
wrong += [f"its description links to {link}" for link in links if not link.startswith(("http://", "https://", "#"))]
wrong += [] if links else ["its description has no link: is the README in it?"]
sys.exit("\n".join(f"{sys.argv[1]}: {line}" for line in wrong) or None)
