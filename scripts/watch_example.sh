#!/usr/bin/env bash
# Watches people on a video, live, and shows what happens when the broker dies. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

output=build/example_watch
if [ "${1:-}" = --findings ]; then
  output=findings/results
elif [ $# -gt 0 ]; then
  cat << 'END'
scripts/watch_example.sh [--findings]

Starts a broker (mosquitto), the publisher on a video of people, and the live page, each a process of its own; opens the page
in a browser without a window and sees the boxes move and the main person followed; reads messages with mosquitto_sub and
checks them against the JSON Schema; kills the broker, starts it again and waits until the page shows new frames. Screenshots
are put into build/example_watch, or with --findings into findings/results. Sets everything up first. Exit status: 0 all as it should be, 1 not.
END
  [ "$1" = --help ] || [ "$1" = -h ] || exit 2
  exit 0
fi

ensure_python
"$PYTHON" -c 'import av, trackers, selenium, jsonschema, rrn_native' 2> /dev/null || "$ROOT/scripts/build.sh" --tests
ensure_watch
cd "$ROOT"
research watch.example --video .deps/watch/vtest.avi --model .deps/watch/rrn/detectors/fast/model.onnx --output "$output"
