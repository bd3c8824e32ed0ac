#!/usr/bin/env bash
# Runs every test that there is. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$(dirname "${BASH_SOURCE[0]}")/stages.sh"

if [ $# -gt 0 ]; then
  cat << 'END'
scripts/nightly.sh

Runs every test that there is; takes hours. It sets everything up as scripts/test.sh does, goes on after a stage that
fails, ends with the table of stages, and writes findings/results/nightly.json: machine, versions, commit, and of each
stage its seconds and how many tests passed, failed and were skipped.

Beyond scripts/test.sh:

  C++ tests      a store whose writers are killed 500 times, and lose power at 3000 moments
  sanitizers     all C++ tests under AddressSanitizer and UBSan; those that run on several threads under ThreadSanitizer
  Python tests   those marked `nightly` too, and property tests with ten times as many examples
  clang-tidy     all of our C++ files

Exit status: 0 everything passed, 1 a stage failed (the others ran), 2 wrong arguments.
END
  [ "$1" = --help ] || [ "$1" = -h ] || exit 2
  exit 0
fi

cd "$ROOT"
start_stages
stage "build" scripts/build.sh --tests --torch
ensure_python
STAGES_GO_ON=yes
stage "what only the tests need" fetch_for_tests
stage "style" check_style
stage "types" check_types
# Longer forms of the tests that kill processes of a store and take its power away.
RRN_STORE_KILLS=500 RRN_STORE_CUTS=3000 stage "C++ tests" run_ctest release
stage "C++ build with AddressSanitizer and UBSan" build_preset asan
stage "C++ tests with AddressSanitizer and UBSan" run_ctest asan
stage "C++ build with ThreadSanitizer" build_preset tsan
stage "C++ tests with ThreadSanitizer" run_ctest tsan -R "$ON_SEVERAL_THREADS"
stage "documentation" scripts/docs.sh
if have_nvcc; then
  stage "GPU build" scripts/gpu_check.sh --build-only
fi
stage "Python tests" run_pytest --hypothesis-profile nightly
stage "clang-tidy of all files" tidy_all
"$PYTHON" scripts/stages.py result "$STAGES" findings/results/nightly.json
[ $STAGES_FAILED = 0 ] || die "$STAGES_FAILED stages failed"
say "All tests passed"
