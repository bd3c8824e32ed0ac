#!/usr/bin/env bash
# Measures everything in one run. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case " $* " in
  *' --help '* | *' -h '*)
    cat << 'END'
scripts/bench.sh [--part NAME[,NAME...]] [--quick] [--full] ...

Measures speed and memory, everything in one run and in turn, and writes findings/results/bench_*.json, and from them
findings/benchmarks.md and findings/benchmarks_*.png. Sets everything up first; what only the benchmarks need goes into
virtual environments under .cache/. Run it on a machine that does nothing else.

  --part NAME[,NAME...]    only these parts (default: all):
                             network     the network by provider, precision, size and batch (research/benchmarks/network.md)
                             decode      decoding by format and size: rrn, Pillow, OpenCV
                             start       how long the program takes to start
                             end_to_end  images per second against a plain script and other tools, and what they find
                             pairs       all pairs against other libraries (research/benchmarks/pairs.md)
                             rerun       a folder again, with a store
                             growth      time and memory from 1,000 embeddings up, and of the program at 20,000 pictures
                             operator    the operator against the memory's bandwidth
  --quick                  tiny inputs, in seconds: shows that it works; the numbers mean nothing
  --full                   growth up to 1,000,000 embeddings; some minutes and 8 GiB of memory more
  --model FILE.onnx        for end_to_end (default: the model that comes with rrn)
  --no-peers               end_to_end without other tools
  --peers-only-once        run other tools once instead of three times
  --found-only             after a change of weights: measure again what rrn finds in end_to_end, and keep all times
  --output DIR             where results go (default: findings/; with --quick .cache/bench-quick)
  --report-only            measures nothing; writes table and charts again from the JSON
  --help                   this text

Environment: RRN_PYTHON (use this Python instead of .venv). Exit status: 0 measured, 1 a part failed, 2 wrong arguments.
END
    exit 0
    ;;
esac

ensure_python
[ -x "$ROOT/build/similarity" ] && "$PYTHON" -c 'import matplotlib, ml_dtypes, onnxruntime, PIL, rrn_native' 2> /dev/null \
  || "$ROOT/scripts/build.sh" --tests --torch

# An environment for what only the benchmarks need; it sees the packages of the main one.
main=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
if [ ! -x "$ROOT/.cache/bench-venv/bin/python" ]; then
  say "Making a Python environment in .cache/bench-venv"
  "$PYTHON" -m venv "$ROOT/.cache/bench-venv"
fi
PYTHON=$ROOT/.cache/bench-venv/bin/python
echo "$main" > "$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/rrn-main.pth"
pip_install bench opencv-python-headless==5.0.0.93 faiss-cpu==1.15.1 usearch==2.26.6 psutil==7.2.2

research benchmarks.bench "$@"
