// The backend against a server of a few lines, which the functions below are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "rrn/embedder.h"
#include "rrn/image.h"
#include "triton_backend/batch.h"
#include "triton_backend/model.h"
#include "triton_backend/request.h"
#include "triton_backend/triton_api.h"

// ---- What the server defines ---------------------------------------------------------------------------------------

struct TRITONSERVER_Error {
  TRITONSERVER_Error_Code code;
  std::string message;
};
struct TRITONBACKEND_Model {
  void* state = nullptr;
};
struct TRITONBACKEND_ModelInstance {
  TRITONBACKEND_Model* model = nullptr;
  std::vector<bool> reported;
  std::uint64_t batch = 0;
};
struct TRITONBACKEND_Input {
  std::vector<std::int64_t> shape;
  std::vector<std::string> pieces;
};
struct TRITONBACKEND_Output {
  std::vector<std::int64_t> shape;
  std::vector<char> bytes;
};
struct TRITONBACKEND_Response {
  std::map<std::string, TRITONBACKEND_Output> outputs;
  bool sent = false;
  std::string error;
};
struct TRITONBACKEND_Request {
  TRITONBACKEND_Input input;
  std::vector<std::string> wanted = {"embedding", "error"};
  TRITONBACKEND_Response response;
  int released = 0;
};

extern "C" {
TRITONSERVER_Error* TRITONSERVER_ErrorNew(TRITONSERVER_Error_Code code, const char* message) {
  return std::make_unique<TRITONSERVER_Error>(TRITONSERVER_Error{code, message}).release();
}
void TRITONSERVER_ErrorDelete(TRITONSERVER_Error* error) { const std::unique_ptr<TRITONSERVER_Error> owned(error); }
const char* TRITONSERVER_ErrorMessage(TRITONSERVER_Error* error) { return error->message.c_str(); }
TRITONSERVER_Error* TRITONBACKEND_ModelState(TRITONBACKEND_Model* model, void** state) {
  *state = model->state;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceModel(TRITONBACKEND_ModelInstance* instance,
                                                     TRITONBACKEND_Model** model) {
  *model = instance->model;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestInput(TRITONBACKEND_Request* request, const char* name,
                                               TRITONBACKEND_Input** input) {
  if (std::string(name) != "image") return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_NOT_FOUND, name);
  *input = &request->input;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestOutputCount(TRITONBACKEND_Request* request, std::uint32_t* count) {
  *count = static_cast<std::uint32_t>(request->wanted.size());
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestOutputName(TRITONBACKEND_Request* request, std::uint32_t index,
                                                    const char** name) {
  *name = request->wanted[index].c_str();
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestRelease(TRITONBACKEND_Request* request, std::uint32_t /*flags*/) {
  ++request->released;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_InputProperties(TRITONBACKEND_Input* input, const char** /*name*/,
                                                  TRITONSERVER_DataType* /*type*/, const std::int64_t** shape,
                                                  std::uint32_t* rank, std::uint64_t* /*bytes*/,
                                                  std::uint32_t* buffers) {
  *shape = input->shape.data();
  *rank = static_cast<std::uint32_t>(input->shape.size());
  *buffers = static_cast<std::uint32_t>(input->pieces.size());
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_InputBuffer(TRITONBACKEND_Input* input, std::uint32_t index, const void** data,
                                              std::uint64_t* bytes, TRITONSERVER_MemoryType* memory,
                                              std::int64_t* /*memory_id*/) {
  *data = input->pieces[index].data();
  *bytes = input->pieces[index].size();
  *memory = TRITONSERVER_MEMORY_CPU;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseNew(TRITONBACKEND_Response** response, TRITONBACKEND_Request* request) {
  *response = &request->response;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseOutput(TRITONBACKEND_Response* response, TRITONBACKEND_Output** output,
                                                 const char* name, TRITONSERVER_DataType /*type*/,
                                                 const std::int64_t* shape, std::uint32_t rank) {
  *output = &response->outputs[name];
  (*output)->shape.assign(shape, shape + rank);
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_OutputBuffer(TRITONBACKEND_Output* output, void** data, std::uint64_t bytes,
                                               TRITONSERVER_MemoryType* /*memory*/, std::int64_t* /*memory_id*/) {
  output->bytes.resize(bytes);
  *data = output->bytes.data();
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseSend(TRITONBACKEND_Response* response, std::uint32_t /*flags*/,
                                               TRITONSERVER_Error* error) {
  response->sent = true;
  if (error != nullptr) response->error = error->message;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReportStatistics(TRITONBACKEND_ModelInstance* instance,
                                                                TRITONBACKEND_Request* request, bool success,
                                                                std::uint64_t begin, std::uint64_t compute_begin,
                                                                std::uint64_t compute_end, std::uint64_t end) {
  EXPECT_EQ(request->released, 0);
  EXPECT_TRUE(begin <= compute_begin && compute_begin <= compute_end && compute_end <= end);
  instance->reported.push_back(success);
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReportBatchStatistics(TRITONBACKEND_ModelInstance* instance,
                                                                     std::uint64_t batch_size, std::uint64_t /*begin*/,
                                                                     std::uint64_t /*compute_begin*/,
                                                                     std::uint64_t /*compute_end*/,
                                                                     std::uint64_t /*end*/) {
  instance->batch = batch_size;
  return nullptr;
}
}  // extern "C"

namespace rrn::triton_backend {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Picture(std::uint8_t grey) {
  const std::vector<std::uint8_t> pixels(std::size_t{40} * 30 * 3, grey);
  const Result<std::vector<std::uint8_t>> file = EncodeJpeg({pixels.data(), 40, 30}, 90);
  return {file->begin(), file->end()};
}

const float* Row(const TRITONBACKEND_Request& request, std::size_t index) {
  const std::vector<char>& bytes = request.response.outputs.at("embedding").bytes;
  return reinterpret_cast<const float*>(bytes.data()) + index * 512;
}

// ---- Tensors of strings --------------------------------------------------------------------------------------------

TEST(Bytes, SplitWhatWasJoined) {
  const std::vector<std::string> texts = {"", "a", std::string(70'000, 'x'), std::string("\0b", 2)};
  const std::string joined = JoinBytes(texts);
  const auto split = SplitBytes(reinterpret_cast<const std::uint8_t*>(joined.data()), joined.size());
  ASSERT_TRUE(split.ok());
  ASSERT_EQ(split->size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(std::string(reinterpret_cast<const char*>((*split)[i].data), (*split)[i].size), texts[i]);
  }
  EXPECT_EQ(SplitBytes(nullptr, 0)->size(), 0U);
}

TEST(Bytes, LengthsThatDoNotAddUpAreRefused) {
  for (const std::string& joined :
       {std::string("\3\0\0\0ab", 6), std::string("\xff\xff\xff\xff", 4), std::string("\0\0\0\0\0", 5)}) {
    EXPECT_FALSE(SplitBytes(reinterpret_cast<const std::uint8_t*>(joined.data()), joined.size()).ok());
  }
}

// ---- config.pbtxt --------------------------------------------------------------------------------------------------

std::string Config(const std::string& parameters, const std::string& more = "") {
  return R"({"max_batch_size": 8, "input": [{"name": "image", "data_type": "TYPE_STRING", "dims": [1]}], )"
         R"("output": [{"name": "embedding", "data_type": "TYPE_FP32", "dims": [512]}, )"
         R"({"name": "error", "data_type": "TYPE_STRING", "dims": [1]}], "parameters": {)" +
         parameters + "}" + more + "}";
}

TEST(ConfigTest, IsRead) {
  const auto config =
      ParseModelConfig(Config(R"("size": {"string_value": "160"}, "precision": {"string_value": "int8"}, "max_bytes": )"
                              R"({"string_value": "1000"}, "op_library": {"string_value": "op.so"})",
                              R"(, "default_model_filename": "model.int8.onnx")"),
                       "/store/m", 3);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->options.model, "/store/m/3/model.int8.onnx");
  EXPECT_EQ(config->options.op_library, "/store/m/op.so");
  EXPECT_EQ(config->options.size, 160);
  EXPECT_EQ(config->options.precision, "int8");
  EXPECT_EQ(config->max_bytes, 1000U);
  EXPECT_EQ(config->dim, 512);
}

TEST(ConfigTest, WrongOnesAreRefusedByName) {
  const auto message = [](const std::string& text) { return ParseModelConfig(text, "/m", 1).status().message(); };
  EXPECT_THAT(message(Config(R"("sise": {"string_value": "1"})")), HasSubstr("unknown parameter sise"));
  EXPECT_THAT(message(Config(R"("size": {"string_value": "1px"})")), HasSubstr("'1px', expected a whole number"));
  EXPECT_THAT(message(Config(R"("size": {"string_value": "99999999999"})")), HasSubstr("expected a whole number"));
  EXPECT_THAT(message(Config(R"("size": 3)")), HasSubstr("config.pbtxt"));
  EXPECT_THAT(message(Config(R"("low_latency": {"string_value": "yes"})")), HasSubstr("low_latency (0 or 1)"));
  EXPECT_THAT(message("{}"), HasSubstr("there is no image"));
  EXPECT_THAT(message("no json"), HasSubstr("config.pbtxt"));
}

// ---- Batches -------------------------------------------------------------------------------------------------------

class BatchTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    ModelConfig config;
    config.options.model = RRN_MODEL;
    config.options.size = 32;
    config.max_bytes = 100'000;
    config.dim = 512;
    Result<Model> opened = OpenModel(config);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    model_ = std::make_unique<Model>(*std::move(opened));
  }
  static void TearDownTestSuite() { model_.reset(); }

  void SetUp() override {
    server_model_.state = model_.get();
    instance_.model = &server_model_;
  }

  TRITONBACKEND_Request& Add(const std::vector<std::string>& pictures) {
    requests_.emplace_back();
    requests_.back().input.pieces = {JoinBytes(pictures)};
    requests_.back().input.shape = {static_cast<std::int64_t>(pictures.size()), 1};
    return requests_.back();
  }

  void Run() {
    std::vector<TRITONBACKEND_Request*> pointers;
    for (TRITONBACKEND_Request& request : requests_) pointers.push_back(&request);
    const Status status = Execute(&instance_, pointers.data(), static_cast<std::uint32_t>(pointers.size()));
    EXPECT_TRUE(status.ok()) << status.message();
    for (const TRITONBACKEND_Request& request : requests_) {
      EXPECT_EQ(request.released, 1);
      EXPECT_TRUE(request.response.sent);
    }
  }

  static std::vector<float> Expected(const std::string& picture) {
    std::vector<float> row(512);
    const auto statuses = model_->embedder.EmbedEncoded(
        {{reinterpret_cast<const std::uint8_t*>(picture.data()), picture.size()}}, {row.data()});
    EXPECT_TRUE(statuses.ok() && (*statuses)[0].ok());
    return row;
  }

  static std::unique_ptr<Model> model_;
  TRITONBACKEND_Model server_model_;
  TRITONBACKEND_ModelInstance instance_;
  std::deque<TRITONBACKEND_Request> requests_;
};

std::unique_ptr<Model> BatchTest::model_;

TEST_F(BatchTest, EachRequestGetsItsOwnRows) {
  Add({Picture(0), Picture(90)});
  Add({Picture(200)});
  Run();
  EXPECT_THAT(requests_[0].response.outputs.at("embedding").shape, ElementsAre(2, 512));
  EXPECT_EQ(std::vector<float>(Row(requests_[0], 1), Row(requests_[0], 2)), Expected(Picture(90)));
  EXPECT_EQ(std::vector<float>(Row(requests_[1], 0), Row(requests_[1], 1)), Expected(Picture(200)));
  EXPECT_THAT(instance_.reported, ElementsAre(true, true));
  EXPECT_EQ(instance_.batch, 3U);
}

TEST_F(BatchTest, ABadPictureFailsAlone) {
  Add({Picture(10)});
  Add({"no picture"});
  Add({Picture(30)});
  Run();
  EXPECT_EQ(requests_[0].response.error, "");
  EXPECT_THAT(requests_[1].response.error, HasSubstr("not an image of a known format"));
  EXPECT_EQ(std::vector<float>(Row(requests_[2], 0), Row(requests_[2], 1)), Expected(Picture(30)));
  EXPECT_THAT(instance_.reported, ElementsAre(true, false, true));
}

TEST_F(BatchTest, ABadPictureAmongSeveralOfARequestIsMarked) {
  Add({Picture(10), "no picture"});
  Add({Picture(10), "no picture"}).wanted = {"embedding"};
  Run();
  EXPECT_EQ(requests_[0].response.error, "");
  EXPECT_EQ(std::vector<float>(Row(requests_[0], 0), Row(requests_[0], 1)), Expected(Picture(10)));
  EXPECT_TRUE(std::isnan(*Row(requests_[0], 1)));
  const std::vector<char>& texts = requests_[0].response.outputs.at("error").bytes;
  EXPECT_THAT(std::string(texts.begin(), texts.end()), HasSubstr("not an image of a known format"));
  EXPECT_THAT(requests_[1].response.error, HasSubstr("image 1 of 2: not an image"));
}

TEST_F(BatchTest, InputsInPiecesTooLongOrCutShort) {
  const std::string joined = JoinBytes({Picture(50)});
  Add({""}).input.pieces = {joined.substr(0, 7), joined.substr(7)};
  Add({std::string(100'001, 'x')});
  Add({""}).input.pieces = {joined.substr(0, joined.size() - 1)};
  Add({""});
  Add({Picture(50), Picture(60)}).input.shape = {1, 1};
  Run();
  EXPECT_EQ(std::vector<float>(Row(requests_[0], 0), Row(requests_[0], 1)), Expected(Picture(50)));
  EXPECT_THAT(requests_[1].response.error, HasSubstr("at most 100000 are read"));
  EXPECT_THAT(requests_[2].response.error, HasSubstr("bytes"));
  EXPECT_THAT(requests_[3].response.error, HasSubstr("empty file"));
  EXPECT_THAT(requests_[4].response.error, HasSubstr("the shape of 1 pictures, 2 are there"));
}

TEST(ModelTest, FewPicturesHaveTheSameEmbeddings) {
  ModelConfig config;
  config.options.model = RRN_MODEL;
  config.options.threads = 3;
  config.instances = 2;
  config.dim = 512;
  const Result<Model> model = OpenModel(config);
  ASSERT_TRUE(model.ok()) << model.status().message();
  ASSERT_TRUE(model->few.has_value());
  const std::string picture = Picture(77);
  const std::vector<EncodedImage> images = {{reinterpret_cast<const std::uint8_t*>(picture.data()), picture.size()}};
  std::vector<float> first(512);
  std::vector<float> second(512);
  ASSERT_TRUE(model->embedder.EmbedEncoded(images, {first.data()}).ok());
  ASSERT_TRUE(model->few->EmbedEncoded(images, {second.data()}).ok());
  EXPECT_EQ(first, second);
  // Alone, and beside another call.
  for (int beside = 0; beside < 2; ++beside) {
    model->active->fetch_add(beside);
    std::fill(second.begin(), second.end(), 0.0F);
    ASSERT_TRUE(model->Embed(images, {second.data()}).ok());
    EXPECT_EQ(first, second);
  }
  EXPECT_EQ(model->active->load(), 1);
  config.low_latency = false;
  EXPECT_FALSE(OpenModel(config)->few.has_value());
}

TEST(ModelTest, APrecisionThatFallsBackIsTheSecondSessionsToo) {
  ModelConfig config;
  config.options.model = RRN_MODEL;
  config.options.threads = 2;
  config.options.precision = "fp16";
  config.dim = 512;
  const Result<Model> model = OpenModel(config);
  ASSERT_TRUE(model.ok()) << model.status().message();
  if (model->few.has_value()) {
    EXPECT_EQ(model->few->info().precision, model->embedder.info().precision);
  }
}

TEST(ModelTest, TheEmbeddingIsAsLongAsTheConfigSays) {
  ModelConfig config;
  config.options.model = RRN_MODEL;
  config.dim = 128;
  EXPECT_THAT(OpenModel(config).status().message(), HasSubstr("dims [128], the model's is 512"));
}

}  // namespace
}  // namespace rrn::triton_backend
