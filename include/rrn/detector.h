// From a picture to the boxes of the people in it.
#ifndef RRN_DETECTOR_H_
#define RRN_DETECTOR_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "rrn/image.h"
#include "rrn/status.h"

namespace rrn {

// The greatest number of boxes in a picture that DetectorOptions may ask for.
inline constexpr int kMaxBoxes = 1000;

// What to run, on what, and how.
//
// A detector is an ONNX file with one input float32 or float16 [1, 3, H, W] and the outputs `boxes` [1, K, 4] (left,
// top, right, bottom in pixels of the input) and `scores` [1, K] (0 ... 1); K may be another number for each picture.
// Its metadata `rrn.detector` is a JSON object (see ParseDetectorInput).
struct DetectorOptions {
  std::string model;
  // Who computes and in what; as in EmbedderOptions.
  std::string provider = "auto";
  std::string precision = "auto";
  // Threads that compute one picture together; 0: one for each core. Results do not depend on it.
  int threads = 0;
  // Boxes below this score are left out; 0 ... 1. Negative: the model's own threshold.
  float score = -1;
  // Of two boxes whose intersection over union is above this, only the one with the higher score stays; 0 ... 1, 1: all
  // stay. Negative: what the model's metadata asks for.
  float iou = -1;
  // The most boxes of a picture, those with the highest scores; 1 ... kMaxBoxes.
  int max_boxes = 300;
  // As in EmbedderOptions.
  bool cache = true;
};

// What a detector's metadata `rrn.detector` says.
struct DetectorInput {
  std::string name;    // the model's name, one line
  InputLayout layout;  // width and height are those of the model's input
  Preprocessing pixels;
  float score = 0.5F;  // the default threshold
  float iou = 1;       // 1: the model leaves no two boxes of the same object
};

// Reads `rrn.detector`, a JSON object. Fields:
//   version   1
//   name      a text
//   resize    "stretch" (the picture fills the input) or "letterbox" (see InputLayout; with `fill`, three whole numbers
//             from 0 to 255: red, green, blue)
//   channels, scale, mean, std   as in ParseModelInput; without them, RGB and scale 1/255 and nothing else
//   nms       a number from 0 to 1, see DetectorOptions::iou; null: 1
//   score     a number from 0 to 1
//   comment, description   anything
// All others are refused.
// Errors: kUnsupported, naming the field, what was expected and what was found.
Result<DetectorInput> ParseDetectorInput(const std::string& text);

// A box in pixels: 0 is the left or upper edge of the picture.
struct Box {
  float left = 0;
  float top = 0;
  float right = 0;
  float bottom = 0;
  float score = 0;
};

// The people in a picture, and how long it took to find them.
struct BoxesOfImage {
  std::vector<Box> boxes;         // by descending score; inside the picture
  double preprocess_seconds = 0;  // from pixels to the network's input
  double detect_seconds = 0;      // the network, and its boxes sorted out
};

// Of overlapping boxes only the one with the highest score stays: takes boxes by descending score (equal scores: in
// their order) and leaves out those whose intersection over union with one that was taken is above `iou`. Boxes without
// an area are left out. At most `most` boxes are returned.
std::vector<Box> SuppressOverlaps(std::vector<Box> boxes, float iou, std::size_t most);

// What a loaded detector says about itself.
struct DetectorInfo {
  std::string name;  // of the metadata
  std::string file;  // the file's name without its folders
  int width = 0;     // of the network's input, in pixels
  int height = 0;
  float score = 0;  // the thresholds in use
  float iou = 0;
  float model_score = 0;  // the model's own threshold
  std::string provider;   // the one in use, never "auto"
  std::string precision;  // the one in use, never "auto"
  std::string note;       // one line if "auto" could not give what was asked for, and why; otherwise empty
};

// A detector, loaded and ready. Movable. Its const functions may be called from several threads at the same time.
class Detector {
 public:
  // Errors: kInvalidArgument (an option out of range), kNotFound (no such file), kUnsupported (the provider is not
  // installed, this machine lacks the precision, or the metadata asks for what is not done), kRuntime (ONNX Runtime
  // refuses the file, or it is not a detector).
  static Result<Detector> Create(const DetectorOptions& options);

  // After a move the source may only be assigned to or destroyed.
  Detector(Detector&& other) noexcept;
  Detector& operator=(Detector&& other) noexcept;
  ~Detector();

  // What was loaded, and who computes it.
  const DetectorInfo& info() const;

  // Finds the people in a picture of any size; the boxes are in pixels of that picture. Same picture, same boxes.
  // Errors: kInvalidArgument (an empty picture), kRuntime (the model failed or gave something else than boxes).
  Result<BoxesOfImage> Detect(const ImageView& image) const;

 private:
  struct State;
  explicit Detector(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace rrn

#endif  // RRN_DETECTOR_H_
