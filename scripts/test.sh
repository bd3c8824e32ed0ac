#!/usr/bin/env bash
# Builds what the tests need and runs all of them. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [ $# -gt 0 ]; then
  cat << 'END'
scripts/test.sh

Sets everything up (scripts/build.sh --tests --torch) and runs, stopping at the first failure:

  clang-format, ruff, mypy    style and types
  ctest                       C++ tests, as users get the code, and again under AddressSanitizer + UBSan; those that run
                              on several threads also under ThreadSanitizer
  gpu_check.sh --build-only   where nvcc is
  docs.sh                     the documentation site; a warning is an error
  pytest                      Python tests, the command line, the wheel, and the HTML page in a browser without a
                              window (RRN_NO_BROWSER=1 leaves that out)
  clang-tidy                  static analysis of our own C++ code
END
  [ "$1" = --help ] || [ "$1" = -h ] || exit 2
  exit 0
fi

"$ROOT/scripts/build.sh" --tests --torch
ensure_python
cd "$ROOT"

ensure_other_onnxruntimes

say "clang-format"
git ls-files -z --cached --others --exclude-standard -- '*.cc' '*.h' '*.cu' | xargs -0 clang-format --dry-run --Werror

say "ruff"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .

say "mypy"
"$PYTHON" -m mypy

say "C++ tests"
ctest --preset release

say "C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer"
cmake --preset asan > build-configure.log || { cat build-configure.log >&2; die "configuring failed"; }
cmake --build --preset asan
ctest --preset asan

say "What runs on several threads, under ThreadSanitizer"
cmake --preset tsan > build-configure.log || { cat build-configure.log >&2; die "configuring failed"; }
rm build-configure.log
cmake --build --preset tsan --target search_test parallel_test embedder_test find_test html_page_test
ctest --preset tsan -R 'PairsTest|GroupTest|RunOnThreadsTest|EmbedderTest|FindSimilarTest|PageTest'

"$ROOT/scripts/docs.sh"

if [ -n "${CUDACXX:-}" ] || command -v nvcc > /dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then
  say "What a GPU machine builds"
  scripts/gpu_check.sh --build-only
fi

say "Python tests"
"$PYTHON" -m pytest

say "clang-tidy"
tidy=$(command -v run-clang-tidy || ls /usr/bin/run-clang-tidy-* | tail -n 1)
"$tidy" -quiet -p build "$ROOT/(inference|bindings)/.*\.cc$" > build/clang-tidy.log 2>&1 \
  || { grep -a 'error: ' build/clang-tidy.log | sort -u >&2; die "clang-tidy found something; see build/clang-tidy.log"; }

say "All tests passed"
