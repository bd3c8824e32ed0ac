// One request: pictures in, embeddings out.
#ifndef RRN_TRITON_BACKEND_REQUEST_H_
#define RRN_TRITON_BACKEND_REQUEST_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "rrn/embedder.h"
#include "rrn/status.h"
#include "triton_backend/triton_api.h"

namespace rrn::triton_backend {

// The elements of a BYTES tensor: each is four bytes of length (little endian) and that number of bytes. The elements
// point into `data`. Errors: kInvalidArgument (the lengths do not add up).
Result<std::vector<EncodedImage>> SplitBytes(const std::uint8_t* data, std::size_t size);

// One element of a BYTES tensor for each text.
std::string JoinBytes(const std::vector<std::string>& texts);

// Not thread-safe. The request must live until Finish, which gives both back to the server.
class Request {
 public:
  explicit Request(TRITONBACKEND_Request* request) : request_(request) {}

  // Reads the pictures where they are and makes room for the embeddings. What fails here is said by Finish.
  void Begin(std::int64_t dim);

  // The pictures to embed and where to; empty where Begin failed.
  const std::vector<EncodedImage>& images() const { return images_; }
  const std::vector<float*>& rows() const { return rows_; }

  // The pictures that were sent, also where Begin failed; at least 1.
  std::size_t pictures() const { return pictures_; }

  // What Finish will say, unless something failed before.
  void Fail(const Status& status);

  // Marks the pictures that failed and sends the response. A request of one picture fails with it. In one of several
  // pictures the others have their embeddings, if the client asked for the output `error`, which says what happened.
  //   statuses: one for each of images().
  // Returns whether the request succeeded.
  bool Finish(const Status* statuses);

  // Gives the request back to the server; nothing of it may be used afterwards.
  void Release();
  TRITONBACKEND_Request* get() const { return request_; }

 private:
  Status ReadInput();
  Status MakeRows(std::int64_t dim);
  Status MarkFailures(const Status* statuses);
  Status WriteErrors(const std::vector<std::string>& texts);
  Result<void*> MakeOutput(const char* name, TRITONSERVER_DataType type, std::int64_t width, std::size_t bytes);
  bool WantsErrors() const;

  TRITONBACKEND_Request* request_;
  TRITONBACKEND_Response* response_ = nullptr;
  Status status_;
  std::vector<std::uint8_t> joined_;  // the input, where the server holds it in pieces
  std::vector<EncodedImage> images_;
  std::vector<float*> rows_;
  std::size_t pictures_ = 1;
  std::size_t dim_ = 0;
};

}  // namespace rrn::triton_backend

#endif  // RRN_TRITON_BACKEND_REQUEST_H_
