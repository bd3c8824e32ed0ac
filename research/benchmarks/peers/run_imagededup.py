"""imagededup. Usage: run_imagededup.py FOLDER OUTPUT.json phash|cnn. Runs in that package's own environment."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import torch


def _register_schemas():
    """Lets torchvision be imported beside a CPU build of PyTorch that lacks torchvision's operators; none is called."""
    try:
        torch.ops.torchvision.nms  # noqa: B018
    except AttributeError:
        folder = importlib.util.find_spec("torchvision").submodule_search_locations[0]
        text = Path(folder, "_meta_registrations.py").read_text()
        library = torch.library.Library("torchvision", "DEF")
        for name in sorted(set(re.findall(r'(?:register_meta\("|torchvision::)(\w+)', text))):
            library.define(f"{name}(Tensor input) -> Tensor")
        return library
    return None


def main():
    """Writes the pairs."""
    folder, output, mode = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    # Kept until the end: the schemas go when it goes.
    library = _register_schemas()
    from imagededup.methods import CNN, PHash

    note = ""
    if mode == "phash":
        found = PHash(verbose=False).find_duplicates(image_dir=folder)
    else:
        try:
            method = CNN(verbose=False)
        except OSError:
            from imagededup.utils import CustomModel
            from imagededup.utils.models import MobilenetV3
            from torchvision import models

            torch.manual_seed(0)
            network = models.mobilenet_v3_small(weights=None).eval()
            features = torch.nn.Sequential(network.features, network.avgpool, torch.nn.Flatten())
            method = CNN(
                verbose=False,
                model_config=CustomModel(
                    name="mobilenet_v3_small_untrained", model=features, transform=MobilenetV3.transform
                ),
            )
            note = "its weights could not be downloaded: the same network with random weights, so only its time counts"
        found = method.find_duplicates(image_dir=folder)
    pairs = [[name, other] for name, others in found.items() for other in others]
    output.write_text(json.dumps({"pairs": pairs, "note": note, "quality": not note}))
    del library


if __name__ == "__main__":
    main()
