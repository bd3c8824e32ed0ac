// The operator's kernels alone: rows of 2 and 4 channels become one row of 4. The first row's channels are repeated,
// and the two rows are averaged.
#include <cstdio>

#include "rrn/reduction.h"

int main() {
  const float two[] = {1, 3};
  const float four[] = {10, 20, 30, 40};
  rrn::ReductionShape shapes[2];
  shapes[0].rank = 1;
  shapes[0].dims[0] = 2;
  shapes[1].rank = 1;
  shapes[1].dims[0] = 4;

  // The plan checks the shapes once; a kernel that runs it allocates nothing.
  rrn::ReductionPlan plan;
  if (rrn::PlanReduction(shapes, 2, 4, &plan) != rrn::ReductionStatus::kOk) return 1;

  const void* inputs[] = {two, four};
  float output[4];
  if (rrn::ReduceCpu(plan, rrn::ReductionType::kFloat32, inputs, output) != rrn::ReductionStatus::kOk) return 1;
  std::printf("%g %g %g %g\n", output[0], output[1], output[2], output[3]);  // 5.5 10.5 16.5 21.5
  return 0;
}
