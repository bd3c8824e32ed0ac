"""What one would write without rrn: OpenCV, ONNX Runtime and NumPy, the same model, nothing clever.

Usage: python plain_script.py FOLDER OUTPUT.json [MODEL.onnx]
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
BATCH = 8
THRESHOLD = 0.75


def load(path):
    """Reads a picture as float32 [3, 224, 224]; None if it is no picture."""
    pixels = cv2.imread(str(path))
    if pixels is None:
        return None
    pixels = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), (224, 224), interpolation=cv2.INTER_AREA)
    return ((pixels.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)


def main():
    """Writes the similar pairs of a folder."""
    folder, output = Path(sys.argv[1]), Path(sys.argv[2])
    default = Path(__file__).resolve().parents[2] / "models" / "reduction_resnet18.onnx"
    session = onnxruntime.InferenceSession(sys.argv[3] if len(sys.argv) > 3 else str(default))
    name = session.get_inputs()[0].name
    files, rows, batch = [], [], []
    for path in sorted(folder.rglob("*")):
        pixels = load(path) if path.is_file() else None
        if pixels is None:
            continue
        files.append(path.relative_to(folder).as_posix())
        batch.append(pixels)
        if len(batch) == BATCH:
            rows.append(session.run(None, {name: np.stack(batch)})[0])
            batch = []
    if batch:
        rows.append(session.run(None, {name: np.stack(batch)})[0])
    embeddings = np.concatenate(rows)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    similar = np.argwhere(np.triu(embeddings @ embeddings.T > THRESHOLD, k=1))
    output.write_text(json.dumps({"pairs": [[files[i], files[j]] for i, j in similar]}))


if __name__ == "__main__":
    main()
