#include "triton_backend/batch.h"

#include <chrono>
#include <cstddef>
#include <exception>
#include <string>
#include <vector>

#include "rrn/embedder.h"
#include "triton_backend/errors.h"
#include "triton_backend/model.h"
#include "triton_backend/request.h"

namespace rrn::triton_backend {
namespace {

std::uint64_t Now() {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

Result<const Model*> ModelOf(TRITONBACKEND_ModelInstance* instance) {
  TRITONBACKEND_Model* model = nullptr;
  Status status = FromTriton(TRITONBACKEND_ModelInstanceModel(instance, &model));
  void* state = nullptr;
  if (status.ok()) status = FromTriton(TRITONBACKEND_ModelState(model, &state));
  if (!status.ok()) return status;
  return static_cast<const Model*>(state);
}

// One status for each picture of all requests.
std::vector<Status> Embed(const Model& model, const std::vector<Request>& batch) {
  std::vector<EncodedImage> images;
  std::vector<float*> rows;
  std::vector<Status> statuses;
  std::vector<std::size_t> positions;  // of the pictures that are embedded, among all
  for (const Request& request : batch) {
    for (std::size_t i = 0; i < request.images().size(); ++i) {
      statuses.emplace_back();
      const EncodedImage& image = request.images()[i];
      if (image.size > model.max_bytes) {
        statuses.back() = {StatusCode::kTooLarge, "the file has " + std::to_string(image.size) + " bytes, at most " +
                                                      std::to_string(model.max_bytes) +
                                                      " are read (parameter max_bytes of config.pbtxt)"};
        continue;
      }
      positions.push_back(statuses.size() - 1);
      images.push_back(image);
      rows.push_back(request.rows()[i]);
    }
  }
  const Result<std::vector<Status>> embedded = model.Embed(images, rows);
  for (std::size_t k = 0; k < positions.size(); ++k) {
    statuses[positions[k]] = embedded.ok() ? (*embedded)[k] : embedded.status();
  }
  return statuses;
}

}  // namespace

Status Execute(TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request** requests, std::uint32_t count) {
  const std::uint64_t begin = Now();
  const Result<const Model*> model = ModelOf(instance);
  if (!model.ok()) return model.status();
  std::vector<Request> batch;
  batch.reserve(count);
  std::size_t pictures = 0;
  for (std::uint32_t k = 0; k < count; ++k) {
    batch.emplace_back(requests[k]);
    batch.back().Begin((*model)->embedder.info().dim);
    pictures += batch.back().pictures();
  }
  const std::uint64_t compute_begin = Now();
  std::vector<Status> statuses;
  try {
    statuses = Embed(**model, batch);
  } catch (const std::exception& error) {
    for (Request& request : batch) request.Fail({StatusCode::kRuntime, error.what()});
  }
  const std::uint64_t compute_end = Now();
  const Status* next = statuses.data();  // looked at where nothing failed before
  std::uint64_t end = compute_end;
  for (Request& request : batch) {
    const bool succeeded = request.Finish(next);
    next += request.images().size();
    end = Now();
    Ignore(TRITONBACKEND_ModelInstanceReportStatistics(instance, request.get(), succeeded, begin, compute_begin,
                                                       compute_end, end));
    request.Release();
  }
  Ignore(TRITONBACKEND_ModelInstanceReportBatchStatistics(instance, pictures, begin, compute_begin, compute_end, end));
  return {};
}

}  // namespace rrn::triton_backend
