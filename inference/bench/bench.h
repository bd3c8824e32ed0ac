// The benchmarks of rrn_bench. Names are what/how/size, where the sizes "small" are what the tests run.
#ifndef RRN_BENCH_BENCH_H_
#define RRN_BENCH_BENCH_H_

namespace rrn::bench {

// Adds the benchmarks of a part.
void RegisterReduction();  // reduction/TYPE/LAYOUT/SIZE
void RegisterImage();      // decode/FORMAT/SIZE, resize/SIZE
void RegisterSearch();     // pairs/TARGET/SIZE, nearest/TARGET/SIZE

}  // namespace rrn::bench

#endif  // RRN_BENCH_BENCH_H_
