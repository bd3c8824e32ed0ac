#include "search/target.h"

#include <cstdint>
#include <string>
#include <vector>

#ifdef __x86_64__
#include <cpuid.h>
#endif
#ifdef __linux__
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace rrn::internal {
namespace {

#ifdef __x86_64__

// Bit `bit` of register eax (0) or edx (3) of CPUID leaf 7.
bool CpuidLeaf7(unsigned subleaf, unsigned which, unsigned bit) {
  unsigned registers[4] = {};
  if (__get_cpuid_count(7, subleaf, &registers[0], &registers[1], &registers[2], &registers[3]) == 0) return false;
  return (registers[which] >> bit & 1U) != 0;
}

// The registers are large, so Linux hands them out on request only. It says no where it is too old, where a sandbox
// forbids it, or where some thread's signal stack is too small to save them.
bool MayUseAmx() {
#ifdef __linux__
  constexpr unsigned kEdx = 3;
  constexpr unsigned kAmxTile = 24;
  constexpr unsigned kAmxInt8 = 25;
  if (!CpuidLeaf7(0, kEdx, kAmxTile) || !CpuidLeaf7(0, kEdx, kAmxInt8)) return false;
  constexpr std::int64_t kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr std::int64_t kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

#endif

#if defined(__aarch64__) && defined(__linux__)
bool HasNeonDot() {
  constexpr std::uint64_t kDotProduct = 1U << 20U;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & kDotProduct) != 0;
}
#endif

// The shares of pairs up to which short rows pay. A pair that is left over costs about as much as 40 with AVX2 alone,
// where this was measured. The other kernels take less time for whole rows, but hardly for a single pair; their shares
// follow from their speed on paper.
#ifdef __x86_64__
constexpr double kMostAmx = 0.01;
constexpr double kMostAvx512 = 0.05;
constexpr double kMostAvxVnni = 0.1;
constexpr double kMostAvx2 = 0.3;
#endif
#if defined(__aarch64__) && defined(__linux__)
constexpr double kMostNeon = 0.05;
#endif

std::vector<SearchTarget> FindTargets() {
  std::vector<SearchTarget> targets;
  DotTileFunction best = DotTilePortable;
#ifdef __x86_64__
  const bool avx2 = __builtin_cpu_supports("avx2") != 0;
  const bool avx512 = __builtin_cpu_supports("avx512f") != 0;
  if (avx512) {
    best = DotTileAvx512;
  } else if (avx2) {
    best = DotTileAvx2;
  }
  constexpr unsigned kEax = 0;
  constexpr unsigned kAvxVnni = 4;
  if (avx512 && MayUseAmx()) {
    targets.push_back({"amx", best, {FilterAmx, false, EnterAmx, LeaveAmx, nullptr, kMostAmx}, KeepPairsAvx2});
  }
  if (avx512 && __builtin_cpu_supports("avx512vnni") != 0) {
    targets.push_back(
        {"avx512vnni", best, {FilterAvx512Vnni, true, nullptr, nullptr, nullptr, kMostAvx512}, KeepPairsAvx2});
  }
  if (avx2 && CpuidLeaf7(1, kEax, kAvxVnni)) {
    targets.push_back({"avxvnni", best, {FilterAvxVnni, true, nullptr, nullptr, nullptr, kMostAvxVnni}, KeepPairsAvx2});
  }
  if (avx2) {
    targets.push_back(
        {"avx2", best, {FilterAvx2, false, nullptr, nullptr, FilterNarrowAvx2, kMostAvx2}, KeepPairsAvx2});
  }
#endif
#if defined(__aarch64__) && defined(__linux__)
  if (HasNeonDot()) {
    targets.push_back({"neon", best, {FilterNeonDot, false, nullptr, nullptr, nullptr, kMostNeon}, KeepPairsPortable});
  }
#endif
  targets.push_back({"float32", best, {}});
  targets.push_back({"portable", DotTilePortable, {}});
  return targets;
}

}  // namespace

const std::vector<SearchTarget>& AvailableTargets() {
  static const std::vector<SearchTarget> targets = FindTargets();
  return targets;
}

Result<SearchTarget> ChooseTarget(const std::string& name) {
  const std::vector<SearchTarget>& targets = AvailableTargets();
  if (name.empty()) return targets.front();
  std::string names;
  for (const SearchTarget& target : targets) {
    if (name == target.name) return target;
    names += std::string(names.empty() ? "" : ", ") + target.name;
  }
  return Status(StatusCode::kInvalidArgument, "the search target is '" + name + "'; this machine has " + names);
}

}  // namespace rrn::internal
