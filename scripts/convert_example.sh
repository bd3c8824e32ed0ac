#!/usr/bin/env bash
# Converts a timm ViT into Hugging Face's and shows that both compute the same. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [ $# -gt 0 ]; then
  cat << 'END'
scripts/convert_example.sh

Makes weights of timm's vit_base_patch16_384 with 7 classes (random ones: nothing is downloaded), converts them with
`rrn convert vit` into Hugging Face's ViTForImageClassification, compares the logits of both on random inputs and on the
example photos, and writes config.json, model.safetensors, preprocessor_config.json, model.torchscript.pt and model.onnx
to build/example_vit. Sets everything up first. Exit status: 0 equal, 1 not.
END
  [ "$1" = --help ] || [ "$1" = -h ] || exit 2
  exit 0
fi

ensure_python
[ -x "$ROOT/build/similarity" ] && "$PYTHON" -c 'import rrn_native, timm, transformers' 2> /dev/null \
  || "$ROOT/scripts/build.sh" --tests --torch
cd "$ROOT"
(research common.examples examples/photos)
rm -rf build/example_photos
mkdir -p build/example_vit build/example_photos
find examples/photos -maxdepth 1 -name '*.png' -exec cp {} build/example_photos \;
"$PYTHON" - << 'END'
import torch
from rrn_ops.conversion.libraries import VisionTransformer

torch.manual_seed(0)
network = VisionTransformer(img_size=384, patch_size=16, num_classes=7)  # the sizes of vit_base_patch16_384
torch.save({name: value + 0.02 * torch.randn_like(value) for name, value in network.state_dict().items()}, "build/example_vit/timm.pth")
END
"$PYTHON" -m rrn_native convert vit --weights build/example_vit/timm.pth --output build/example_vit \
  --labels anger,contempt,disgust,fear,joy,sadness,surprise --images build/example_photos --torchscript --onnx
