#include "rrn/version.h"

namespace rrn {

const char* Version() { return RRN_VERSION; }

}  // namespace rrn
