// The kernels alone: [2] and [4] reduced to 4 channels.
#include <cstdio>

#include "rrn/reduction.h"

int main() {
  const float two[] = {1, 3};
  const float four[] = {10, 20, 30, 40};
  rrn::ReductionShape shapes[2];
  shapes[0].rank = shapes[1].rank = 1;
  shapes[0].dims[0] = 2;
  shapes[1].dims[0] = 4;
  rrn::ReductionPlan plan;
  if (rrn::PlanReduction(shapes, 2, 4, &plan) != rrn::ReductionStatus::kOk) return 1;
  const void* inputs[] = {two, four};
  float output[4];
  if (rrn::ReduceCpu(plan, rrn::ReductionType::kFloat32, inputs, output) != rrn::ReductionStatus::kOk) return 1;
  std::printf("%g %g %g %g\n", output[0], output[1], output[2], output[3]);
  return output[0] == 5.5F && output[3] == 21.5F ? 0 : 1;
}
