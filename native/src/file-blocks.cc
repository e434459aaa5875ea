#include "file-blocks.h"

#include <fcntl.h>

#include <cerrno>

#include "bytes.h"
#include "ioctl-error.h"

namespace lodge {
namespace {

/** (descriptor, mode, offset, length): fallocate(2), for holes and zeros in what there is. 0, or the error's number. */
Napi::Value fallocateFile(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  const int descriptor = static_cast<int>(uint32Of(env, info[0]));
  const int mode = static_cast<int>(uint32Of(env, info[1]));
  const auto offset = static_cast<off_t>(uint53Of(env, info[2]));
  const auto length = static_cast<off_t>(uint53Of(env, info[3]));
  if (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) && mode != (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)) {
    throwTypeError(env, "there is no such mode");
  }
  int result = 0;
  do {
    result = fallocate(descriptor, mode, offset, length);
  } while (result != 0 && errno == EINTR);
  return Napi::Number::New(env, result == 0 ? 0 : errno);
}

}  // namespace

void defineFileBlocks(Napi::Env env, Napi::Object exports) {
  exports.Set("fallocate", Napi::Function::New(env, fallocateFile, "fallocate"));
}

}  // namespace lodge
