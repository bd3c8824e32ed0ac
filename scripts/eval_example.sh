#!/usr/bin/env bash
# Evaluates two example models, shows what runs again after a change, and what the gate says. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [ $# -gt 0 ]; then
  cat << 'END'
scripts/eval_example.sh

Draws faces of 7 emotions and a small classifier that is trained on others (build/example_eval), evaluates it with an own
metric, and the default model on groups of the example photos; runs again, after a changed label, and with a baseline that
is raised on purpose, which ends with exit code 3. Sets everything up first. Exit status: 0 all as it should be, 1 not.
END
  [ "$1" = --help ] || [ "$1" = -h ] || exit 2
  exit 0
fi

ensure_python
[ -x "$ROOT/build/similarity" ] && "$PYTHON" -c 'import rrn_native, snakemake, onnx, matplotlib' 2> /dev/null \
  || "$ROOT/scripts/build.sh" --tests --torch
cd "$ROOT"
(research common.examples examples/photos)
folder=build/example_eval
rm -rf "$folder"
"$PYTHON" -m rrn_native eval example "$folder" --photos examples/photos

classify() {
  "$PYTHON" -m rrn_native eval run --inputs "$folder/inputs.csv" --outputs "$folder/outputs.csv" --model "$folder/faces.onnx" \
    --classes "$folder/classes.txt" --metric "$folder/my_metrics.py:polarity" --work "$folder/evaluation" "$@"
}

say "The classifier, with an own metric and a baseline"
classify --baseline "$folder/baseline.json"

say "Embeddings of photos"
"$PYTHON" -m rrn_native eval run --inputs "$folder/photo_inputs.csv" --outputs "$folder/photo_outputs.csv" --model engine \
  --work "$folder/photo_evaluation"

say "Again: nothing has changed"
again=$(classify --baseline "$folder/baseline.json")
printf '%s\n' "$again"
[ "$(grep -c ' cached$' <<< "$again")" = 6 ] || die "something ran again"

say "After one changed label: no picture is predicted again"
sed -i '2s/,[a-z]*,/,surprise,/' "$folder/outputs.csv"
changed=$(classify --baseline "$folder/baseline.json" || true)
printf '%s\n' "$changed"
grep -q '^predict *cached$' <<< "$changed" || die "predictions were made again"
grep -q '^measure *ran' <<< "$changed" || die "the changed label was not seen"

say "With a baseline that asks for more than there is"
"$PYTHON" -c '
import json, pathlib, sys
path = pathlib.Path(sys.argv[1])
found = json.loads(path.read_text())
found["metrics"]["accuracy"]["value"] = 0.99
path.with_name("raised.json").write_text(json.dumps(found))' "$folder/baseline.json"
code=0
classify --baseline "$folder/raised.json" || code=$?
[ $code = 3 ] || die "exit code $code, expected 3"
echo "exit code 3, as it should be; the report is $folder/evaluation/report/report.html"
