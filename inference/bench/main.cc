#include <benchmark/benchmark.h>

#include "bench/bench.h"

int main(int argc, char** argv) {
  rrn::bench::RegisterReduction();
  rrn::bench::RegisterImage();
  rrn::bench::RegisterSearch();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const bool found = benchmark::RunSpecifiedBenchmarks() > 0;
  benchmark::Shutdown();
  return found ? 0 : 1;
}
