#!/usr/bin/env bash
# Sets everything up and builds. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat << 'END'
scripts/build.sh [--tests] [--torch]

Installs what is missing (system packages through apt-get, as root or with sudo; Python packages into .venv) and builds:

  build/similarity             the program
  lib/libreduction_op.so       the operator for ONNX Runtime
  lib/librrn_reduction.a       the operator's kernels
  lib/libreduction_torch.so    the operator for PyTorch, where PyTorch is found
  lib/libtriton_rrn.so         the engine for the Triton Inference Server
  python/rrn_native            the Python package; .venv/bin/python can import it, .venv/bin/rrn is its command line

  --torch   install PyTorch, ONNX tools and Pillow too (needed for export, validation and the PyTorch operator)
  --tests   install the test tools too, and build the C++ tests
  --help    this text

Environment: RRN_PYTHON (use this Python instead of .venv), ONNXRUNTIME_ROOT (an unpacked official ONNX Runtime
release), RRN_OPENVINO_EP (the OpenVINO plugin's library; installed from PyPI otherwise, where it exists), CUDACXX
(nvcc; found on the PATH otherwise), RRN_NO_BROWSER=1 (no browser for the tests of the HTML page). A second run takes seconds.
END
}

tests=OFF
torch=no
for argument in "$@"; do
  case $argument in
    --tests) tests=ON ;;
    --torch) torch=yes ;;
    --help | -h) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
done

apt_install build-essential cmake ninja-build pkg-config ca-certificates libjpeg-dev libpng-dev libwebp-dev libtiff-dev \
  libgif-dev libdeflate-dev nlohmann-json3-dev libxxhash-dev libsqlite3-dev python3-venv python3-dev
# For the approximate search, which is left out where the package is not known.
apt-cache show libhnswlib-dev > /dev/null 2>&1 && apt_install libhnswlib-dev
[ $tests = OFF ] || apt_install libgtest-dev libgmock-dev libbenchmark-dev clang-format clang-tidy ccache git locales groff-base \
  zsh fish
# For the tests of the HTML page, which say what to do where there is no browser.
if [ $tests = ON ] && [ "${RRN_NO_BROWSER:-}" != 1 ] && apt-cache show chromium-driver > /dev/null 2>&1; then
  apt_install chromium chromium-driver
fi

ensure_python
# The versions are the oldest that are known to work, except where a release is named.
pip_install build 'lazy_loader>=0.4' 'numpy>=1.26' 'onnxruntime>=1.20' 'pybind11>=2.12'
[ $torch = no ] || pip_install torch torch==2.13.0 'onnx>=1.17' 'onnxscript>=0.5' 'pillow>=13' setuptools wheel
[ $tests = OFF ] || pip_install tests 'pytest>=8' 'pytest-xdist>=3.6' 'hypothesis>=6' 'import-linter>=2.5' "${DRAWING_PACKAGES[@]}" 'imagehash>=4.3' ml_dtypes ruff==0.17.6 mypy==2.4.1 selenium==4.27.1 \
  'scikit-learn>=1.5' jinja2==3.1.6 pypandoc-binary==1.17 typst==0.15.2 pypdf==6.1.1
# For rrn convert; where they cannot be installed, its tests are skipped. This torchvision is that of the PyTorch above; timm wants one.
[ $tests = OFF ] || [ $torch = no ] || pip_try convert 'timm>=1.0' torchvision==0.28.0 'transformers>=5' 'safetensors>=0.4' \
  || echo "cannot get timm and transformers; the tests of rrn convert will be skipped"

# For the studies of scripts/research.sh; where they cannot be installed, their tests are skipped.
[ $tests = OFF ] || [ $torch = no ] || pip_try studies "${STUDY_PACKAGES[@]}" \
  || echo "cannot get the packages of the studies; some of their tests will be skipped"

# For rrn serve; where it cannot be installed, its tests are skipped.
[ $tests = OFF ] || [ $torch = no ] || pip_try serve 'tritonclient[http,grpc]==2.73.0' \
  || echo "cannot get tritonclient; the tests of rrn serve will be skipped"

# For rrn eval; where they cannot be installed, its tests are skipped.
[ $tests = OFF ] || [ $torch = no ] || pip_try evaluate snakemake==9.27.1 pygments \
  || echo "cannot get snakemake; the tests of rrn eval will be skipped"

# For rrn watch-folder and rrn index export; where they cannot be installed, their tests are skipped.
[ $tests = OFF ] || pip_try stores 'watchfiles>=1' 'pyarrow>=17' \
  || echo "cannot get watchfiles and pyarrow; the tests of rrn watch-folder and rrn index export will be skipped"

# For rrn watch; where they cannot be installed, its tests are skipped. libgl1 is for OpenCV, which trackers brings.
if [ $tests = ON ]; then
  apt_install mosquitto mosquitto-clients libgl1
  pip_try watch 'av>=14' 'trackers>=2.6,<3' 'msgspec>=0.19' 'paho-mqtt>=2.1' 'starlette>=0.40' 'uvicorn>=0.30' 'websockets>=13' \
    'prometheus_client>=0.20' 'jsonschema>=4' faster-coco-eval==1.8.0 \
    || echo "cannot get the packages of rrn watch; its tests will be skipped"
fi

# For rrn scale; where they cannot be installed, its tests are skipped. moto stands for an object store.
[ $tests = OFF ] || pip_try scale 'ray[data]==2.60.0' 'pyarrow>=17' fsspec==2026.9.0 s3fs==2026.9.0 daft==0.7.26 'moto[server]==5.2.5' \
  || echo "cannot get Ray; the tests of rrn scale will be skipped"

# Debian bookworm's CMake is new enough; older systems get one from PyPI.
if ! cmake --version | "$PYTHON" -c '
import re, sys
version = re.search(r"(\d+)\.(\d+)", sys.stdin.read())
sys.exit(tuple(map(int, version.groups())) < (3, 25))'; then
  pip_install cmake 'cmake>=3.25,<4'
  PATH=$(dirname "$PYTHON"):$PATH
fi

# The fast path for bf16 and int8; it is a part of no result unless it is asked for.
pip_try openvino onnxruntime-ep-openvino \
  || echo "note: no onnxruntime-ep-openvino for this machine, so bf16 is not available and int8 is slower"

"$ROOT/scripts/onnxruntime_headers.sh"

# nvcc may be installed without being on the PATH.
if [ -z "${CUDACXX:-}" ] && ! command -v nvcc > /dev/null && [ -x /usr/local/cuda/bin/nvcc ]; then
  export CUDACXX=/usr/local/cuda/bin/nvcc
fi

say "Building"
cd "$ROOT"
cmake --preset release -D RRN_BUILD_TESTS=$tests > build-configure.log \
  || { cat build-configure.log >&2; die "configuring failed"; }
grep -- '-- rrn:' build-configure.log || true
mv build-configure.log build/configure.log
cmake --build build

# What makes `import rrn_native` and the command rrn work in the environment.
"$PYTHON" -c '
import pathlib, sys, sysconfig
program = f"#!{sys.executable}\nimport sys\n\nfrom rrn_native.cli import main\n\nsys.exit(main())\n"
for folder, name, text in (("purelib", "rrn_native.pth", sys.argv[1]), ("scripts", "rrn", program)):
    target = pathlib.Path(sysconfig.get_path(folder), name)
    if not target.exists() or target.read_text() != text:
        target.write_text(text)
pathlib.Path(sysconfig.get_path("scripts"), "rrn").chmod(0o755)' "$ROOT/python"
"$PYTHON" -c 'import rrn_native; print("rrn_native", rrn_native.__version__, "is importable from", rrn_native.__path__[0])'
