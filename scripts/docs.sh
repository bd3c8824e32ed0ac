#!/usr/bin/env bash
# Builds the documentation site. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case " $* " in
  *' --help '* | *' -h '*)
    cat << 'END'
scripts/docs.sh

Builds the documentation site from python/docs into build/docs/site; open index.html there (its search works
where the folder is served, for example by `python3 -m http.server -d build/docs/site`). The C++ API comes from
include/rrn (Doxygen), the Python API from the docstrings (mkdocstrings), the command lines from the programs' --help,
which needs build/similarity and the Python module: scripts/build.sh makes them first where they are missing. Any warning is an error: a broken link, a public function without a comment, an argument that a
docstring does not have. Sets everything up first (doxygen through apt-get; Python packages into .venv). The site fetches
nothing when it is read.

  --help   this text

Environment: RRN_PYTHON (use this Python instead of .venv). Exit status: 0 built, 1 a warning or error.
END
    exit 0
    ;;
esac
[ $# = 0 ] || die "unknown argument: $1; see --help"

apt_install doxygen
ensure_python
if [ ! -x "$ROOT/build/similarity" ] \
  || ! PYTHONPATH=$ROOT/python "$PYTHON" -c 'from rrn_native import _load; _load.load()' 2> /dev/null; then
  "$ROOT/scripts/build.sh"
fi
pip_install docs mkdocs==1.6.1 mkdocs-material==9.6.23 mkdocstrings==1.0.0 mkdocstrings-python==2.0.0 griffe==2.4.1

cd "$ROOT"
output=$ROOT/build/docs
rm -rf "$output"
mkdir -p "$output"

say "C++ API"
RRN_DOCS_OUTPUT=$output doxygen python/docs/Doxyfile || die "Doxygen found something; see above"

say "Site"
# Material warns of an MkDocs to come, which is not used here.
NO_MKDOCS_2_WARNING=1 "$PYTHON" -m mkdocs build --strict --quiet --config-file python/docs/mkdocs.yml \
  || die "mkdocs found something; see above"
mv "$output/cpp" "$output/site/cpp"

# What a browser would fetch from elsewhere: sources of scripts, styles, fonts and pictures.
if grep -rEn --include=*.html --include=*.css "(<(script|img|iframe)[^>]* src=|<link[^>]* (rel=\"?(stylesheet|preconnect|icon)[^>]*)href=|url\()[\"']?(https?:)?//" \
  "$output/site" | cut -c 1-200 | grep .; then
  die "the site would fetch the files above from elsewhere"
fi
say "Built $output/site/index.html"
