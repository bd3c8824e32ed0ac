// The portable loops, and the choice among all.
#include "reduction/sums.h"

#include <cstdint>

#include "reduction/half.h"
#include "reduction/sums_kernel.h"

#ifdef __x86_64__
#include <cpuid.h>
#endif

namespace rrn::internal {
namespace {

// Plain loops of constant length, which compilers turn into what vector code the machine has at least.
template <typename T>
class PlainLanes {
 public:
  using Element = T;

  void Add(const T* from) noexcept {
    for (std::int64_t i = 0; i < kSumLanes; ++i) lanes_[i] += ToFloat(from[i]);
  }
  void Add(const PlainLanes& other) noexcept {
    for (std::int64_t i = 0; i < kSumLanes; ++i) lanes_[i] += other.lanes_[i];
  }
  float Sum() noexcept {
    for (std::int64_t width = kSumLanes / 2; width > 0; width /= 2) {
      for (std::int64_t i = 0; i < width; ++i) lanes_[i] += lanes_[i + width];
    }
    return lanes_[0];
  }
  void Store(float* to) const noexcept {
    for (std::int64_t i = 0; i < kSumLanes; ++i) to[i] = lanes_[i];
  }
  static void Widen(const T* from, float* to) noexcept {
    for (std::int64_t i = 0; i < kSumLanes; ++i) to[i] = ToFloat(from[i]);
  }
  static void Narrow(const float* from, T* to) noexcept {
    for (std::int64_t i = 0; i < kSumLanes; ++i) FromFloat(from[i], to + i);
  }

 private:
  float lanes_[kSumLanes] = {};
};

#ifdef __x86_64__
// GCC's and Clang's __builtin_cpu_supports do not both know F16C. AVX2 says that the system saves the registers.
bool HasAvx2AndF16c() noexcept {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __builtin_cpu_supports("avx2") != 0 && __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

}  // namespace

const SumKernelSet kPortableSums = {"portable", MakeSumKernels<PlainLanes<float>>(), MakeSumKernels<PlainLanes<Half>>(),
                                    MakeSumKernels<PlainLanes<BFloat16>>()};

const SumKernels& SumKernelSet::For(ReductionType type) const noexcept {
  switch (type) {
    case ReductionType::kFloat32:
      return float32;
    case ReductionType::kFloat16:
      return float16;
    case ReductionType::kBFloat16:
      return bfloat16;
  }
  return float32;
}

const SumKernelSet& ChooseSums() noexcept {
#ifdef __x86_64__
  static const bool avx2 = HasAvx2AndF16c();
  if (avx2) return kAvx2Sums;
#endif
  return kPortableSums;
}

}  // namespace rrn::internal
