#!/usr/bin/env bash
# Checks and measures the kernels on a GPU. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case " $* " in
  *' --help '* | *' -h '*)
    cat << 'END'
scripts/gpu_check.sh [--build-only] [--budget SECONDS] [--output DIR]

One command for a bare machine with a GPU: it needs nvcc, CMake, a C++ compiler and Python 3.11; PyTorch is used where it
is there, and nothing is installed or fetched. It builds the kernels for this card, runs their table of cases, runs that
under compute-sanitizer, and measures; see research/gpu/README.md. It ends within 9 minutes and writes
findings/results/gpu/DEVICE.json.

  --build-only         build what can be built here, GPU or not, and stop
  --budget SECONDS     for everything (default: 540); what no longer fits is skipped, and the result says so
  --output DIR         where the result goes (default: $OUT if that is set, otherwise findings/results/gpu)
  --help               this text

Environment: RRN_PYTHON (use this Python; otherwise the first python3), CUDACXX (nvcc).
Exit status: 0 all is well, 1 a part failed, 2 wrong arguments, 3 there is no GPU (what can be built was built),
4 nothing failed, but a required check was skipped or compute-sanitizer is not there.
END
    exit 0
    ;;
esac

PYTHON=${RRN_PYTHON:-$(command -v python3)} || die "no python3; set RRN_PYTHON"
research gpu.check "$@"
