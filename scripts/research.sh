#!/usr/bin/env bash
# Runs the studies that anyone can repeat. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case " $* " in
  *' --help '* | *' -h '*)
    cat << 'END'
scripts/research.sh [--data DIR] [--full] [--findings | --output DIR] [STUDY ...]

Runs studies and writes their results (JSON), pages and charts into build/studies: about 40 minutes on two cores without VNNI for
all in their short form. Sets everything up first (Python packages into .venv).

  STUDY        tensor_mechanics, tensorrt, circle, quantisation, tuning (default: all)
  --data DIR   labelled pictures for quantisation and tuning: cifar100_subset.zip (SPLIT/CLASS/NAME.png) and
               tinyimagenet32_subset.zip (as Tiny ImageNet is distributed). Without it they take the handwritten digits that
               come with scikit-learn, and say so
  --full       the whole instead of the short form: hours
  --findings   write into findings/, and the figures of the studies' READMEs; scripts/report.sh then makes the report again
  --output DIR write there
  --help       this text

research/STUDY/README.md says what each asks and how. Environment: RRN_PYTHON (use this Python instead of .venv). Exit status:
0 all ran, 1 a study failed (the others ran), 2 wrong arguments.
END
    exit 0
    ;;
esac

# Paths are the caller's; options and names of studies apart.
words=() studies=()
while [ $# -gt 0 ]; do
  case $1 in
    --findings) words+=(--output "$ROOT/findings") ;;
    --data | --output)
      [ $# -gt 1 ] || die "$1 wants a folder; see --help"
      words+=("$1" "$(realpath -m -- "$2")")
      shift
      ;;
    --*) words+=("$1") ;;
    *) studies+=("$1") ;;
  esac
  shift
done

ensure_python
"$PYTHON" -c 'import onnx, onnxscript, PIL, rrn_native, torch; rrn_native.__version__' 2> /dev/null || "$ROOT/scripts/build.sh" --torch
pip_install studies-drawing "${DRAWING_PACKAGES[@]}"
pip_install studies "${STUDY_PACKAGES[@]}"
# NVIDIA's parser and builder, 95 MB, under a licence of NVIDIA's; no GPU is needed.
case " ${studies[*]:-tensorrt} " in
  *' tensorrt '*)
    pip_try tensorrt tensorrt-rtx==1.7.1.116 \
      || echo "cannot get tensorrt-rtx for this machine; the study of TensorRT leaves out what NVIDIA's parser says"
    ;;
esac
cd "$ROOT"
research studies ${words[@]+"${words[@]}"} ${studies[@]+"${studies[@]}"}
