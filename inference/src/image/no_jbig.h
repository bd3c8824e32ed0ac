// Functions that take the place of jbigkit's. libtiff calls that library for JBIG, a fax code that next to no file
// uses, and it is under the GPL: a program that holds it would come under it too. DecodeTiff refuses such files before
// libtiff comes here. Not a header to share: it defines functions, for one source file of a program (image/tiff.cc) or
// the library that stands in for libjbig.so.0 in the Python wheel (bindings/no_jbig.cc).
#ifndef RRN_IMAGE_NO_JBIG_H_
#define RRN_IMAGE_NO_JBIG_H_

#include <cstddef>

// NOLINTBEGIN(misc-definitions-in-headers): see above
extern "C" {
void jbg_dec_init(void* /*state*/) {}
void jbg_dec_free(void* /*state*/) {}
int jbg_dec_in(void* /*state*/, unsigned char* /*data*/, std::size_t /*size*/, std::size_t* /*used*/) { return 1; }
unsigned char* jbg_dec_getimage(const void* /*state*/, int /*plane*/) { return nullptr; }
// NOLINTNEXTLINE(google-runtime-int): jbigkit's type.
unsigned long jbg_dec_getsize(const void* /*state*/) { return 0; }
int jbg_newlen(unsigned char* /*data*/, std::size_t /*size*/) { return 1; }
const char* jbg_strerror(int /*error*/) { return "this program has no JBIG"; }
// NOLINTNEXTLINE(google-runtime-int): jbigkit's type.
void jbg_enc_init(void* /*state*/, unsigned long /*width*/, unsigned long /*height*/, int /*planes*/,
                  unsigned char** /*data*/, void (* /*output*/)(unsigned char*, std::size_t, void*), void* /*file*/) {}
void jbg_enc_free(void* /*state*/) {}
void jbg_enc_out(void* /*state*/) {}
}
// NOLINTEND(misc-definitions-in-headers)

#endif  // RRN_IMAGE_NO_JBIG_H_
