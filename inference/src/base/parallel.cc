#include "base/parallel.h"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace rrn {

std::size_t ThreadCount(int threads, std::size_t jobs) {
  const std::size_t wanted =
      threads > 0 ? static_cast<std::size_t>(threads) : std::max<std::size_t>(1, std::thread::hardware_concurrency());
  return std::min(wanted, std::max<std::size_t>(jobs, 1));
}

Status RunOnThreads(std::size_t threads, const std::function<void()>& work, const std::function<void()>& stop) {
  std::mutex mutex;
  Status failure;
  const auto guarded = [&] {
    try {
      work();
    } catch (const std::exception& error) {
      stop();
      const bool memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
      const std::lock_guard<std::mutex> lock(mutex);
      if (failure.ok()) failure = {StatusCode::kRuntime, memory ? "not enough memory" : error.what()};
    }
  };
  std::vector<std::thread> pool;
  try {
    pool.reserve(threads);
    for (std::size_t t = 1; t < threads; ++t) pool.emplace_back(guarded);
  } catch (const std::exception& no_more_threads) {
    // Those that run, and this one, do the work.
    static_cast<void>(no_more_threads);
  }
  guarded();
  for (std::thread& thread : pool) thread.join();
  return failure;
}

}  // namespace rrn
