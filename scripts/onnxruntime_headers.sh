#!/usr/bin/env bash
# Puts ONNX Runtime's headers into .deps/onnxruntime/include, where the system has none.
#
# The onnxruntime wheel brings the library without headers. Newer releases of Debian and Ubuntu have a package with them.
# It is downloaded from the mirror that this machine is set up for, through a private apt configuration, and unpacked;
# the system's own package lists and packages stay as they are.
#
# Headers of 1.22 or newer are looked for first, because those know plugin execution providers (openvino). With older
# ones everything else is built.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

target=$ROOT/.deps/onnxruntime
found() { [ -n "$(find "$@" -name onnxruntime_cxx_api.h -print -quit 2> /dev/null)" ]; }
if [ -n "${ONNXRUNTIME_ROOT:-}" ] || found "$target" || found /usr/include /usr/local/include; then
  exit 0
fi
command -v apt-get > /dev/null \
  || die "ONNX Runtime's headers are missing; unpack an official release and set ONNXRUNTIME_ROOT to its folder"
say "Fetching ONNX Runtime's headers"

# shellcheck source=/dev/null
. /etc/os-release
case $ID in
  ubuntu) suites='resolute questing plucky' keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg component=universe ;;
  *) suites='forky trixie sid' keyring=/usr/share/keyrings/debian-archive-keyring.gpg component=main ;;
esac

# The mirror: the first archive of the distribution in the machine's own sources, in either of apt's formats. A list of
# mirrors (mirror+file:...) is one, too; a vendor's archive for the distribution (.../ubuntu/24.04/prod) only where
# nothing else is named.
sources() { cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list /etc/apt/sources.list 2> /dev/null || true; }
mirror=$(sources | awk -v id="$ID" '
  /^ *#/ { next }
  /^(URIs:|deb )/ {
    for (i = 2; i <= NF; i++) {
      if ($i !~ /:\// || ($i !~ id && $i !~ /^mirror\+/)) continue
      if (!first) first = $i
      if (!archive && $i ~ "^mirror[+]|/" id "(-ports)?/?$") archive = $i
    }
  }
  END { print archive ? archive : first }')
[ -n "$mirror" ] || die "no $ID archive in apt's sources; set ONNXRUNTIME_ROOT to an unpacked official release"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The API of the headers in a folder: 22 for release 1.22.
api() { grep -rhoE '^#define ORT_API_VERSION [0-9]+' "$1" | grep -oE '[0-9]+$' | head -n 1; }

# install_headers UNPACKED SUITE: puts the headers in their place.
install_headers() {
  mkdir -p "$target"
  rm -rf "$target/include"
  mv "$1/usr/include/onnxruntime" "$target/include"
  cp "$1/usr/share/doc/libonnxruntime-dev/copyright" "$target/"
  echo "took those of 1.$(api "$target/include") from $ID $2"
}

older=
for suite in $suites; do
  apt=$work/$suite
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  echo "deb [signed-by=$keyring] $mirror $suite $component" > "$apt/sources.list"
  options=(-q -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User= "${APT_LIMITS[@]}")
  timeout 600 apt-get "${options[@]}" update > "$apt/log" 2>&1 || continue
  (cd "$apt" && timeout 600 apt-get "${options[@]}" download libonnxruntime-dev >> log 2>&1) || continue
  dpkg -x "$apt"/libonnxruntime-dev_*.deb "$apt/unpacked"
  found "$apt/unpacked" || continue
  if [ "$(api "$apt/unpacked")" -ge 22 ]; then
    install_headers "$apt/unpacked" "$suite"
    exit 0
  fi
  older=${older:-$suite}
done
if [ -n "$older" ]; then
  install_headers "$work/$older/unpacked" "$older"
  echo "note: they are older than 1.22, so rrn is built without plugin execution providers (openvino)"
  exit 0
fi
cat "$work"/*/log >&2 || true
die "no package with ONNX Runtime's headers on this machine's mirror; set ONNXRUNTIME_ROOT to an unpacked release"
