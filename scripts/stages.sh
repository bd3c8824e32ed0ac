# The stages that scripts/test.sh and scripts/nightly.sh consist of; sourced after common.sh, not run.
# shellcheck shell=bash disable=SC2034

JOBS=$(nproc)
STAGES=$ROOT/build/stages # what the last run left: table.tsv (name, seconds, CPU seconds, exit status, report), reports
STAGES_GO_ON=no           # yes: a stage that fails does not stop the script
STAGES_FAILED=0

# note_cpu: sets CPU to the seconds of user and system time of all commands that ended so far. Not in a subshell, which
# knows its own commands only.
note_cpu() {
  times > "$STAGES/times"
  CPU=$(awk 'NR == 2 { split($1, a, /[ms]/); split($2, b, /[ms]/); printf "%.0f", (a[1] + b[1]) * 60 + a[2] + b[2] }' "$STAGES/times")
}

# start_stages: forgets the last run; from now on, the script ends with the table of stages.
start_stages() {
  rm -rf "$STAGES"
  mkdir -p "$STAGES"
  trap show_stages EXIT
}

# stage NAME COMMAND...: runs a function or a program, in a shell of its own, and notes how long it took.
stage() {
  local name=$1 begin=$SECONDS cpu status on_error report=
  shift
  rm -f "$STAGES/report"
  note_cpu
  cpu=$CPU
  on_error=$(trap -p ERR)
  say "$name"
  set +e
  trap - ERR
  (
    eval "$on_error"
    set -e
    "$@"
  )
  status=$?
  eval "$on_error"
  set -e
  note_cpu
  [ ! -f "$STAGES/report" ] || report=$(cat "$STAGES/report")
  printf '%s\t%d\t%d\t%d\t%s\n' "$name" $((SECONDS - begin)) $((CPU - cpu)) $status "$report" >> "$STAGES/table.tsv"
  printf -- '-- %s: %d s\n' "$name" $((SECONDS - begin))
  if [ $status != 0 ]; then
    STAGES_FAILED=$((STAGES_FAILED + 1))
    [ "$STAGES_GO_ON" = yes ] || exit 1
  fi
}

show_stages() {
  [ -s "$STAGES/table.tsv" ] || return 0
  printf '\n%-44s %8s %8s\n' Stage seconds CPU
  awk -F '\t' '{ printf "%-44s %8d %8d%s\n", $1, $2, $3, $4 ? "  failed" : ""; seconds += $2; cpu += $3 }
    END { printf "%-44s %8d %8d\n", "all", seconds, cpu }' "$STAGES/table.tsv"
}

fetch_for_tests() {
  ensure_other_onnxruntimes
  ensure_other_transformers
  ensure_triton
  ensure_watch
}

check_style() {
  git ls-files -z --cached --others --exclude-standard -- '*.cc' '*.h' '*.cu' | xargs -0 clang-format --dry-run --Werror
  "$PYTHON" -m ruff check .
  "$PYTHON" -m ruff format --check .
}

check_types() { "$PYTHON" -m mypy; }

# Too slow for scripts/test.sh with a sanitizer: the kernels' tables of cases, which watch every access themselves.
SLOW_WITH_SANITIZER='^(reduction|sums)_test_tables$'
# What runs on several threads.
ON_SEVERAL_THREADS='PairsTest|GroupTest|StoreThreadsTest|RunOnThreadsTest|EmbedderTest|FindSimilarTest|PageTest'

# build_preset PRESET [TARGET...]: configures quietly and builds.
build_preset() {
  local log=$STAGES/configure-$1.log
  cmake --preset "$1" > "$log" 2>&1 || { cat "$log" >&2; die "configuring failed"; }
  cmake --build --preset "$1" ${2:+--target "${@:2}"}
}

# run_ctest PRESET [ARGUMENT...]: the C++ tests on all cores, then the slowest of them.
run_ctest() {
  echo "ctest-$1.xml" > "$STAGES/report"
  ctest --preset "$1" -j "$JOBS" --no-tests=error --output-junit "$STAGES/ctest-$1.xml" "${@:2}"
  "$PYTHON" scripts/stages.py slowest "$STAGES/ctest-$1.xml"
}

# run_pytest [ARGUMENT...]: the Python tests on all cores; a file stays on one of them, as its tests share fixtures.
run_pytest() {
  echo pytest.xml > "$STAGES/report"
  "$PYTHON" -m pytest -n "$JOBS" --dist loadfile --durations 15 --junit-xml "$STAGES/pytest.xml" "$@"
}

# changed_sources: our .cc files that changed since the merge base with origin/main or, if that is this commit or
# missing, in the last 5 commits (all files, if there are no earlier commits), or that are not committed; for a header,
# one .cc file that includes it, preferably the one of its name.
changed_sources() {
  local base head path source
  head=$(git rev-parse HEAD)
  base=$(git merge-base HEAD origin/main 2> /dev/null || true)
  if [ -z "$base" ] || [ "$base" = "$head" ]; then
    base=$(git rev-list --first-parent --max-count 6 HEAD | tail -n 1)
    [ "$base" != "$head" ] || base=$(git hash-object -t tree /dev/null)
  fi
  {
    git diff --name-only --diff-filter d "$base" -- include inference bindings
    git ls-files --others --exclude-standard -- include inference bindings
  } | while read -r path; do
    case $path in
      *.cc) echo "$path" ;;
      *.h)
        source=${path%.h}.cc
        [ -f "$source" ] || source=$(git grep -l -E "\"([^\"]*/)?${path##*/}\"" -- 'inference/*.cc' 'bindings/*.cc' | sed -n 1p) || true
        [ -z "$source" ] || echo "$source"
        ;;
    esac
  done | sort -u
}

# run_tidy REGEX: clang-tidy over the files of the release build whose paths match.
run_tidy() {
  local tidy log=$ROOT/build/clang-tidy.log
  tidy=$(command -v run-clang-tidy || printf '%s\n' /usr/bin/run-clang-tidy-* | tail -n 1)
  "$tidy" -quiet -p build "$1" > "$log" 2>&1 \
    || { grep -a 'error: ' "$log" | sort -u >&2; die "clang-tidy found something; see build/clang-tidy.log"; }
}

tidy_all() { run_tidy "$ROOT/(inference|bindings)/.*\.cc$"; }

tidy_changed() {
  local sources
  sources=$(changed_sources)
  if [ -z "$sources" ]; then
    echo "no C++ file changed"
    return
  fi
  echo "$sources"
  run_tidy "$ROOT/($(echo "$sources" | sed 's/[.+]/\\&/g' | paste -s -d '|'))$"
}

have_nvcc() { [ -n "${CUDACXX:-}" ] || command -v nvcc > /dev/null || [ -x /usr/local/cuda/bin/nvcc ]; }
