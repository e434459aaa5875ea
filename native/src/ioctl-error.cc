#include "ioctl-error.h"

#include <cerrno>
#include <cstring>
#include <string>

namespace lodge {
namespace {

struct Meaning {
  const char *call;
  int error;
  const char *meaning;
};

/** What an errno means for one call, where the general text misleads (Linux, Documentation/virt/kvm/api.rst). */
constexpr Meaning MEANINGS[] = {
    {"open /dev/kvm", ENOENT, "this kernel has no KVM, or its module is not loaded"},
    {"open /dev/kvm", EACCES, "this user may not use KVM"},
    {"open /dev/kvm", EPERM, "this user may not use KVM"},
    {"open /dev/kvm", ENODEV, "the processor's virtualization is absent or switched off in firmware"},
    {"KVM_CREATE_VM", ENOMEM, "the host has no memory left for a virtual machine"},
    {"KVM_CREATE_VM", EBUSY, "another hypervisor holds the processor's virtualization"},
    {"KVM_CREATE_VCPU", EINVAL, "this KVM takes no further processor of that number"},
    {"KVM_CREATE_VCPU", EEXIST, "the processor exists already"},
    {"KVM_SET_USER_MEMORY_REGION", EEXIST, "the memory slot overlaps another"},
    {"KVM_SET_USER_MEMORY_REGION", EINVAL, "the memory slot is not aligned, or KVM cannot change it in this way"},
    {"KVM_SET_USER_MEMORY_REGION", ENOMEM, "the host has no memory left for the slot's tables"},
    {"KVM_RUN", EFAULT, "the guest reached memory that the host cannot provide"},
    {"KVM_RUN", EINVAL, "the processor's state is one that KVM cannot enter"},
    {"KVM_RUN", ENOEXEC, "the processor was never initialized"},
    {"KVM_SET_MSRS", EINVAL, "KVM refuses the value of a model-specific register"},
    {"KVM_SET_SREGS", EINVAL, "KVM refuses the segment or control registers"},
    {"KVM_SET_CPUID2", E2BIG, "there are more CPUID leaves than KVM takes"},
    {"KVM_SET_CPUID2", EINVAL, "KVM refuses a change of CPUID after the processor has run"},
    {"KVM_IOEVENTFD", EEXIST, "the doorbell is registered already"},
    {"KVM_IOEVENTFD", ENOSPC, "KVM has no room for another doorbell"},
};

const char *meaningOf(const char *call, int error) {
  for (const Meaning &entry : MEANINGS) {
    if (entry.error == error && std::strcmp(entry.call, call) == 0) {
      return entry.meaning;
    }
  }
  return std::strerror(error);
}

}  // namespace

void throwSystemError(Napi::Env env, const char *call, int error) {
  const char *symbol = strerrorname_np(error);
  const std::string code = symbol == nullptr ? std::to_string(error) : symbol;
  Napi::Error failure = Napi::Error::New(env, std::string(call) + ": " + code + ", " + meaningOf(call, error));
  failure.Set("call", Napi::String::New(env, call));
  failure.Set("errno", Napi::Number::New(env, error));
  failure.Set("code", Napi::String::New(env, code));
  failure.Set("meaning", Napi::String::New(env, meaningOf(call, error)));
  throw failure;
}

void throwTypeError(Napi::Env env, const char *message) { throw Napi::TypeError::New(env, message); }

}  // namespace lodge
