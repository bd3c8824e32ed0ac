#!/usr/bin/env bash
# Builds, then finds the similar images of a folder. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
  cat << 'END'
scripts/run.sh [image_dir] [options of ./build/similarity]

Sets everything up, builds (scripts/build.sh) and runs ./build/similarity on the folder. Without a folder it makes one
with real example photos and derived copies in examples/photos.
END
  exit 0
fi

"$ROOT/scripts/build.sh"
if [ $# = 0 ]; then
  ensure_python
  pip_install examples 'pillow>=13'
  cd "$ROOT"
  (research common.examples examples/photos)
  set -- examples/photos
fi
say "./build/similarity $*"
exec "$ROOT/build/similarity" "$@"
