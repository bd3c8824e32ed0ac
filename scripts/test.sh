#!/usr/bin/env bash
# Builds what the tests need and runs them. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$(dirname "${BASH_SOURCE[0]}")/stages.sh"

if [ $# -gt 0 ]; then
  cat << 'END'
scripts/test.sh

What must pass before a commit lands: 30 minutes on a fresh clone with two AVX2 cores, a few when ccache and .venv are warm.
Runs these stages, stops at the first failure, and ends with a table of their seconds (CPU: of all cores together); the
slowest tests are listed:

  build          scripts/build.sh --tests --torch, which sets everything up
  what only the tests need
                 other releases of packages, a Triton server, a detector, a video; what cannot be fetched is skipped
  style, types   clang-format, ruff, mypy
  C++ tests      ctest, on the code as users get it
  sanitizers     ctest under AddressSanitizer and UBSan: the rooms that read files or work on several threads
  documentation  scripts/docs.sh; a warning is an error
  GPU build      scripts/gpu_check.sh --build-only, for one architecture, where nvcc is
  Python tests   pytest: package, command line, wheel, research, and the HTML page in a browser without a window
                 (RRN_NO_BROWSER=1 leaves that out)
  clang-tidy     our C++ files that changed since the merge base with origin/main; where it is missing, or it is this
                 commit, in the last 5 commits

scripts/nightly.sh has in addition: ThreadSanitizer; the kernels' tables of cases under AddressSanitizer; clang-tidy over all
files; the Python tests marked `nightly`.

Reports: build/stages (JUnit XML, table.tsv).
END
  [ "$1" = --help ] || [ "$1" = -h ] || exit 2
  exit 0
fi

cd "$ROOT"
start_stages
stage "build" scripts/build.sh --tests --torch
ensure_python
stage "what only the tests need" fetch_for_tests
stage "style" check_style
stage "types" check_types
stage "C++ tests" run_ctest release
stage "C++ build with AddressSanitizer and UBSan" build_preset asan
stage "C++ tests with AddressSanitizer and UBSan" run_ctest asan -E "$SLOW_WITH_SANITIZER"
stage "documentation" scripts/docs.sh
if have_nvcc; then
  stage "GPU build" scripts/gpu_check.sh --build-only
fi
stage "Python tests" run_pytest -m "not nightly"
stage "clang-tidy of changed files" tidy_changed
say "All tests passed"
