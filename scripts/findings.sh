#!/usr/bin/env bash
# Makes findings/ from its results. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case " $* " in
  *' --help '* | *' -h '*)
    cat << 'END'
scripts/findings.sh [--measure]

Writes everything in findings/ but results/ from results/: pages, charts, the figures of the example photos and the report.
Nothing is measured; the same results give the same bytes. Sets everything up first (Python packages into .venv; the
example photos come from PyPI).

  --measure   first measures again what the example figures show, and takes a picture of the HTML page in Chromium:
              results/example_figures.json, results/example_page.png and .json
  --help      this text

scripts/bench.sh, scripts/evaluate.sh and scripts/report.sh --measure-examples measure the rest.
Environment: RRN_PYTHON (use this Python instead of .venv). Exit status: 0 written, 1 or 2 something is missing.
END
    exit 0
    ;;
esac

measure=no
for argument in "$@"; do
  case $argument in
    --measure) measure=yes ;;
    *) die "unknown argument $argument; see --help" ;;
  esac
done

ensure_python
[ -x "$ROOT/build/similarity" ] && "$PYTHON" -c 'import onnx, PIL, rrn_native; rrn_native.__version__' 2> /dev/null \
  || "$ROOT/scripts/build.sh" --torch
pip_install findings "${DRAWING_PACKAGES[@]}"
cd "$ROOT"
if [ $measure = yes ]; then
  command -v chromium > /dev/null || apt_install chromium
  (research examples.record --page)
fi
(research findings)
exec "$ROOT/scripts/report.sh"
