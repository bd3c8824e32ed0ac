// Sets a session's options up for an execution provider.
#ifndef RRN_ENGINE_PROVIDER_SETUP_H_
#define RRN_ENGINE_PROVIDER_SETUP_H_

#include <onnxruntime_cxx_api.h>

#include <memory>

#include "engine/compiled_cache.h"
#include "engine/session.h"
#include "rrn/status.h"

namespace rrn::internal {

// Appends the provider of settings.choice. `compiled` receives the entry of the compiled model, to be kept when the
// session is open; null where the provider compiles nothing that is worth keeping.
// Errors: kNotFound (the provider is not installed), kUnsupported (this machine lacks it, or the precision), kRuntime.
// May throw Ort::Exception.
Status AppendProvider(const SessionSettings& settings, Ort::Env* env, Ort::SessionOptions* session_options,
                      std::unique_ptr<CacheEntry>* compiled);

}  // namespace rrn::internal

#endif  // RRN_ENGINE_PROVIDER_SETUP_H_
