"""The core install can search: no optional library is imported on that way."""

import subprocess
import sys

OPTIONAL = (
    "openai",
    "PIL",
    "huggingface_hub",
    "httpx2",
    "diffusers",
    "peft",
    "prefect",
    "dvc",
    "jinja2",
    "matplotlib",
)
PROBE = """
import sys
import autolora, autolora.cli, autolora.retrieval, autolora.models
print(",".join(name for name in {names!r} if name in sys.modules))
"""


def test_searching_imports_no_optional_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(names=OPTIONAL)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
