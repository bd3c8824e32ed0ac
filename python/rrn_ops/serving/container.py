"""What runs a store in NVIDIA's container, which has Triton's own backends for ONNX and TorchScript."""

from __future__ import annotations

from collections.abc import Sequence

from rrn_ops.serving.description import Model

IMAGE = "nvcr.io/nvidia/tritonserver:25.03-py3"

_DOCKERFILE = """# Triton with its own backends and rrn's: docker build -t rrn-triton .
# The wheel of rrn (scripts/wheel.sh makes it) lies beside this file.
FROM {image}
COPY *.whl /tmp/
RUN pip install --no-cache-dir /tmp/*.whl onnx 'tritonclient[grpc,http]' && rm /tmp/*.whl \\
 && mkdir -p /opt/tritonserver/backends/rrn \\
 && python3 -m rrn_native serve libraries --into /opt/tritonserver/backends/rrn
USER triton-server
"""

_SCRIPT = """#!/bin/sh
# Serves the models of this folder on this machine's own ports 8000 (HTTP), 8001 (gRPC) and 8002 (metrics).
# No client may load or unload models, or map shared memory.
set -eu
store=$(cd "$(dirname "$0")" && pwd)
docker build -t rrn-triton "$store"
exec docker run --rm --init --shm-size=256m -p 127.0.0.1:8000:8000 -p 127.0.0.1:8001:8001 -p 127.0.0.1:8002:8002 \\
  -v "$store:/models:ro" rrn-triton tritonserver --model-repository=/models --model-control-mode=none \\
  --disable-auto-complete-config --strict-readiness=true
"""


def container_files(models: Sequence[Model]) -> dict[str, str]:
    """Returns the files that run a store of these models in a container: names and contents."""
    names = ", ".join(model.name for model in models)
    return {
        "Dockerfile": _DOCKERFILE.format(image=IMAGE),
        "run_container.sh": _SCRIPT.replace("# Serves the models", f"# Models: {names}\n# Serves the models"),
        ".dockerignore": "*\n!*.whl\n",
    }
