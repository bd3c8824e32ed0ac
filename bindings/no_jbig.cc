// libjbig.so.0 without jbigkit, for the Python wheel: Debian's libtiff asks for that name.
#include "image/no_jbig.h"
