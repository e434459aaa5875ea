#include "structures.h"

#include <sys/ioctl.h>

#include <cerrno>
#include <string>

#include "bytes.h"

namespace lodge {
namespace {

const Structure &find(const Napi::CallbackInfo &info, const Structure *list, std::size_t count) {
  if (info[0].IsString()) {
    const std::string name = info[0].As<Napi::String>().Utf8Value();
    for (std::size_t i = 0; i < count; i++) {
      if (name == list[i].name) {
        return list[i];
      }
    }
  }
  throwTypeError(info.Env(), "KVM has no such structure");
}

}  // namespace

void getStructure(const Napi::CallbackInfo &info, const Structure *list, std::size_t count, int fd) {
  const Structure &structure = find(info, list, count);
  if (structure.getRequest == NOT_TOLD) {
    throwTypeError(info.Env(), "KVM does not tell this structure");
  }
  if (ioctl(fd, structure.getRequest, exactly(info.Env(), info[1], structure.size)) < 0) {
    throwSystemError(info.Env(), structure.getCall, errno);
  }
}

void setStructure(const Napi::CallbackInfo &info, const Structure *list, std::size_t count, int fd) {
  const Structure &structure = find(info, list, count);
  if (ioctl(fd, structure.setRequest, exactly(info.Env(), info[1], structure.size)) < 0) {
    throwSystemError(info.Env(), structure.setCall, errno);
  }
}

}  // namespace lodge
