#!/usr/bin/env bash
# Makes the findings report. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case " $* " in
  *' --help '* | *' -h '*)
    cat << 'END'
scripts/report.sh [--measure-examples] [--results DIR] [--output DIR]

Makes findings/report.docx, findings/report.pdf and the charts in findings/figures (PNG and SVG) from the JSON files in
findings/results, and from nothing else. What was not measured is named in the text. The same files give the same
bytes. Sets everything up first (Python packages into .venv).

  --measure-examples  first runs ./build/similarity on examples/photos and writes findings/results/example.json
                      (scripts/run.sh makes both)
  --program FILE      the program for that (default: build/similarity)
  --results DIR       read the JSON files from here
  --output DIR        where the report and figures/ go (default: findings/)
  --help              this text

Environment: RRN_PYTHON (use this Python instead of .venv). Exit status: 0 written, 2 wrong arguments or files.
END
    exit 0
    ;;
esac

ensure_python
# Exact versions: another one may write other bytes for the same results.
pip_install report "${DRAWING_PACKAGES[@]}" jinja2==3.1.6 pypandoc-binary==1.17 typst==0.15.2
cd "$ROOT"
research report.make "$@"
