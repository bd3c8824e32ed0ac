#!/usr/bin/env bash
# Builds a model store, serves it, and asks every model of it. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [ $# -gt 0 ]; then
  cat << 'END'
scripts/serve_example.sh

Makes a model store of the default model with the example photos as its gallery (build/example_store), starts a real Triton
Inference Server on free ports, sends a photo to the native backend and to the ensembles over HTTP and gRPC and compares the
answers with the engine's own embedding, sends eight pictures of which one is damaged, and kills the server while it works.
Sets everything up first. Exit status: 0 all as it should be, 1 not.
END
  [ "$1" = --help ] || [ "$1" = -h ] || exit 2
  exit 0
fi

ensure_python
"$PYTHON" -c 'import torch, tritonclient.grpc' 2> /dev/null && [ -f "$ROOT/lib/libtriton_rrn.so" ] \
  || "$ROOT/scripts/build.sh" --tests --torch
ensure_triton
cd "$ROOT"
(research common.examples examples/photos)
research serving.example --runtime .deps/triton --photos examples/photos --store build/example_store
